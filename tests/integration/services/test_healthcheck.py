"""The health check of containers."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT, MockApi


@pytest.mark.parametrize(("path", "code"), [("/_control/health", 0), ("/nothing", 1)])
def test_exit_code_says_whether_the_url_answers_in_spite_of_proxies(path: str, code: int, api: MockApi) -> None:
    shell = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "socks5://127.0.0.1:9", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-m", "services.healthcheck", f"{api.url}{path}"]
    assert subprocess.run(command, cwd=ROOT, env=shell, capture_output=True, check=False).returncode == code
