"""The OpenAPI document has no lint, and generated clients are type-checked and read from `python -m serving`.

`make clients` installs the linter and the generators, and runs these tests.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT
from tests.integration.serving.api import Api, free_port

_TOOLS, _SOURCES = ROOT / ".clients", ROOT / ".ci/clients"
_NODE, _PYTHON = _TOOLS / "node_modules/.bin", _TOOLS / "venv/bin"
# User 5 has the recommendations 5, a removed track, 6 and 7; the clients read two and exclude 6.
_RESULT = {"tracks": [5, 7], "accepted": 1, "problem": "urn:moovitamix:problem:unknown-listener", "unchanged": 304}

pytestmark = pytest.mark.skipif(
    not (_TOOLS / ".ready").exists(), reason="the generators are not installed; run `make clients`"
)


@pytest.fixture(scope="module")
def url(world: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `python -m serving` on the shared database."""
    folder, port = tmp_path_factory.mktemp("process"), free_port()
    settings = {"DATABASE_URL": world.database, "SERVING_PORT": str(port), "DATA_DIR": str(folder)}
    command = [sys.executable, "-m", "serving"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | settings, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_it_responds(address, process)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)


def test_document_has_no_lint(url: str, tmp_path: Path) -> None:
    (tmp_path / "openapi.json").write_bytes(httpx.get(f"{url}/openapi.json", timeout=60).content)
    shutil.copy(_SOURCES / "redocly.yaml", tmp_path)
    _run(_NODE / "redocly", "lint", "openapi.json", "--max-problems=1000", folder=tmp_path)


def test_generated_typescript_client_compiles_and_reads_and_writes(world: Api, url: str, tmp_path: Path) -> None:
    for name in ("use_client.ts", "tsconfig.json"):
        shutil.copy(_SOURCES / name, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "node_modules").symlink_to(_TOOLS / "node_modules")
    _run(_NODE / "openapi-typescript", f"{url}/openapi.json", "--output", "api.d.ts", folder=tmp_path)
    _run(_NODE / "tsc", folder=tmp_path)
    assert json.loads(_run("node", "compiled/use_client.js", url, world.key, folder=tmp_path)) == _RESULT


def test_generated_python_client_is_typed_and_reads_and_writes(world: Api, url: str, tmp_path: Path) -> None:
    options = ("--url", f"{url}/openapi.json", "--meta", "none", "--output-path", "moovitamix_client")
    _run(_PYTHON / "openapi-python-client", "generate", "--fail-on-warning", *options, folder=tmp_path)
    shutil.copy(_SOURCES / "use_client.py", tmp_path)
    # Only our program must be free of errors: the generator's own code for context managers is not.
    options = ("--strict", "--follow-imports=silent", "--python-executable", str(_PYTHON / "python"))
    _run(sys.executable, "-m", "mypy", *options, "use_client.py", folder=tmp_path)
    assert json.loads(_run(_PYTHON / "python", "use_client.py", url, world.key, folder=tmp_path)) == _RESULT


def _wait_until_it_responds(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            assert httpx.get(f"{address}/health/live", timeout=60).is_success
        except httpx.TransportError:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


def _run(*command: str | Path, folder: Path) -> str:
    """Run a program in a folder, and return its output. The generators use programs beside them."""
    environment = os.environ | {"PATH": f"{_PYTHON}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}
    process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout
