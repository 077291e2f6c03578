"""The network variables that `core` sets in every process, before another library reads them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

_NAMES = ("PREFECT_SERVER_ANALYTICS_ENABLED", "GX_ANALYTICS_ENABLED", "DO_NOT_TRACK", "NETRC", "no_proxy", "NO_PROXY")
_PRINT_VARIABLES = (
    "import importlib, os, sys; importlib.import_module(sys.argv[1]); print([os.environ[n] for n in sys.argv[2:]])"
)


@pytest.mark.parametrize(
    "module",
    ["core", "expectations", "flows", "services.local_services", "notifications.delivery", "demo.environment"],
)
def test_no_telemetry_no_netrc_and_no_proxy_to_this_machine(module: str) -> None:
    shell = {name: value for name, value in os.environ.items() if name not in _NAMES}
    shell |= {"HTTP_PROXY": "http://127.0.0.1:9", "PREFECT_SERVER_ANALYTICS_ENABLED": "true"}
    command = [sys.executable, "-c", _PRINT_VARIABLES, module, *_NAMES]
    output = subprocess.run(command, cwd=ROOT, env=shell, capture_output=True, text=True, check=True).stdout
    loopback = "127.0.0.1,localhost,::1"
    assert output.strip() == str(["false", "False", "1", os.devnull, loopback, loopback])
