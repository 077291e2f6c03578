"""Schemathesis: every response matches the OpenAPI specification, and none is a 5xx."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.serving.api import Api

_COMMAND = [sys.executable, "-m", "schemathesis.cli", "run"]
_OPTIONS = ["--max-examples=40", "--max-time=11", "--seed=1", "--generation-deterministic"]
_OPTIONS += ["--phases=examples,coverage,fuzzing", "--continue-on-failure", "--no-color", "--request-timeout=60"]
_OPTIONS += ["--max-response-time=5", "--warnings=off"]
# 410: a schema cannot express which publications are kept.
_CONFIGURATION = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", 401, 403, 404, 409, 410, 429]
"""


@pytest.mark.parametrize(
    "options",
    [
        ["--exclude-path-regex=^/v1/(feedback|impressions)"],
        # Feedback on unknown users or tracks is invalid; a schema cannot express which exist.
        ["--include-path-regex=^/v1/(feedback|impressions)", "--exclude-checks=positive_data_acceptance"],
    ],
    ids=["reading", "feedback"],
)
def test_every_response_matches_the_specification(world: Api, options: list[str], tmp_path: Path) -> None:
    until = time.monotonic() + 60
    while world.client.post("/v1/recommendations", json={"tracks": [1]}).status_code == 503:  # its model is loading
        assert time.monotonic() < until
        time.sleep(0.1)
    (tmp_path / "schemathesis.toml").write_text(_CONFIGURATION)
    command = [
        *_COMMAND,
        f"{world.url}/openapi.json",
        f"--header=Authorization: Bearer {world.key}",
        *_OPTIONS,
        *options,
    ]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert process.returncode == 0, process.stdout[-6000:] + process.stderr[-2000:]
