"""Brings a Prefect server in line with `prefect.yaml`, the work pool and every deployment, then `automations.yaml`.

Harmless when repeated.

`PREFECT_API_URL` says which server, `PREFECT_API_AUTH_STRING` (user:password) how to log in, if it asks. With --smoke
an ingest runs afterwards. Exit 0: done; 1: the server could not be reached, or refused, or the ingest did not complete.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import requests
import yaml

from core.errors import MoovitamixError, SettingsError
from core.exit_codes import returns_exit_code, run_main
from core.prefect_client import PrefectClient
from core.settings import load_settings
from notifications.health_checks import page_problem
from services import automations
from services.local_services import ROOT, WORK_POOL

SMOKE = "ingest/daily"
_SECONDS_TO_WAIT = 120.0
_SECONDS_TO_SMOKE = 1800
_TIMEOUT = 10.0


class DeploymentError(MoovitamixError):
    """The server could not be brought in line."""


class SmokeTestError(MoovitamixError):
    """The deployments are made, and what they run did not complete."""


def deploy(api_url: str, only: Sequence[str] = (), code_at: str | None = None, login: str = "") -> None:
    """Wait for the server, then deploy everything, or only what is named (flow/deployment). Raises DeploymentError.

    `code_at` is the folder where the worker has the code; without it, this one. `login` is user:password.
    """
    wait_until_reachable(f"{api_url}/health", _SECONDS_TO_WAIT)
    _ensure_work_pool(api_url, login)
    what = [word for name in only for word in ("--name", name)] or ["--all"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prefect.yaml"
        file.write_text(yaml.safe_dump(_deployments(code_at)))
        code = _prefect(api_url, login, "deploy", "--prefect-file", str(file), *what)
    if code:
        raise DeploymentError(f"prefect deploy failed with exit code {code}")
    _automate(api_url, login)


def _automate(api_url: str, login: str) -> None:
    """Bring automations and the addresses of alerts in line. Raises DeploymentError."""
    try:
        print(automations.apply_automations(load_settings(), api_url, login).summary(), flush=True)
    except requests.HTTPError as error:  # without the address and what was sent: an alert's address is secret
        status = error.response.status_code if error.response is not None else "error"
        raise DeploymentError(f"the automations were not made: HTTP {status}") from None
    except requests.RequestException as error:
        raise DeploymentError(f"the automations were not made: {type(error).__name__}") from None
    except SettingsError as error:
        raise DeploymentError(f"the automations were not made: {error}") from None


def run_smoke_test(api_url: str, login: str = "", seconds: int = _SECONDS_TO_SMOKE) -> None:
    """Run today's ingest on the worker and watch it. Raises SmokeTestError unless it completes in time.

    Today's lists are published, as by the nightly run; running it again changes nothing.
    """
    if _prefect(api_url, login, "deployment", "run", SMOKE, "--watch", "--watch-timeout", str(seconds)):
        raise SmokeTestError(f"the deployments are made, but {SMOKE} did not complete within {seconds} s")


def _deployments(code_at: str | None) -> dict[str, Any]:
    """What stands in `prefect.yaml`, and where the worker finds it: else Prefect takes the folder of who deploys."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    folder = {"directory": code_at or str(ROOT.resolve())}
    return content | {"pull": [{"prefect.deployments.steps.set_working_directory": folder}]}


def _prefect(api_url: str, login: str, *words: str) -> int:
    """The exit code of a Prefect command; what it prints goes where ours does."""
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_AUTH_STRING"}
    environment |= {"PREFECT_API_URL": api_url} | ({"PREFECT_API_AUTH_STRING": login} if login else {})
    command = [sys.executable, "-m", "prefect", "--no-prompt", *words]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def wait_until_reachable(url: str, seconds: float) -> None:
    """Return when the address answers with success. Raises DeploymentError when it does not in time."""
    until = time.monotonic() + seconds
    while not is_reachable(url):
        if time.monotonic() > until:
            raise DeploymentError(f"{url} did not answer within {seconds:g} s")
        time.sleep(0.5)


def is_reachable(url: str) -> bool:
    """Whether the address answers with success."""
    return page_problem(url, _TIMEOUT) is None


def _ensure_work_pool(api_url: str, login: str) -> None:
    """Make the pool unless it is there; the worker fills in its template. Raises DeploymentError."""
    content = {"name": WORK_POOL, "type": "process", "description": "Flow runs as processes beside the worker."}
    try:
        PrefectClient(api_url, login).ask("POST", "work_pools/", content)
    except requests.HTTPError as error:
        if error.response.status_code != requests.codes.conflict:
            raise DeploymentError(f"the work pool could not be made: HTTP {error.response.status_code}") from error
    except requests.RequestException as error:
        raise DeploymentError(f"the work pool could not be made at {api_url}: {type(error).__name__}") from error


@returns_exit_code
def main() -> int:
    """Deploy to the server that PREFECT_API_URL names."""
    parser = argparse.ArgumentParser(prog="python -m services.deploy", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help=f"then run {SMOKE} and fail unless it completes")
    parser.add_argument("--code-at", metavar="FOLDER", help="where the worker has this code (default: this folder)")
    options = parser.parse_args()
    api_url = os.environ.get("PREFECT_API_URL", "").rstrip("/")
    login = os.environ.get("PREFECT_API_AUTH_STRING", "")
    if not api_url:
        raise SettingsError("set PREFECT_API_URL, such as http://127.0.0.1:4200/api")
    deploy(api_url, code_at=options.code_at, login=login)
    if options.smoke:
        run_smoke_test(api_url, login)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
