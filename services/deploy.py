"""Brings a Prefect server in line with `prefect.yaml`: the work pool, then every deployment. Harmless when repeated.

`PREFECT_API_URL` says which server. Exit 0: done; 1: it could not be reached, or refused.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence

import requests

from services.plan import ROOT, WORK_POOL

_SECONDS_TO_WAIT = 120.0
_TIMEOUT = 10.0


class NotDeployed(Exception):
    """The server could not be brought in line."""


def deploy(api_url: str, only: Sequence[str] = ()) -> None:
    """Wait for the server, then deploy everything, or only what is named (flow/deployment). Raises NotDeployed."""
    wait_for(f"{api_url}/health", _SECONDS_TO_WAIT)
    _ensure_work_pool(api_url)
    what = [word for name in only for word in ("--name", name)] or ["--all"]
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", *what]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PREFECT_API_URL": api_url}, check=False)
    if done.returncode:
        raise NotDeployed(f"prefect deploy failed with exit code {done.returncode}")


def wait_for(url: str, seconds: float) -> None:
    """Return when the address answers with success. Raises NotDeployed when it does not in time."""
    until = time.monotonic() + seconds
    while not answers(url):
        if time.monotonic() > until:
            raise NotDeployed(f"{url} did not answer within {seconds:g} s")
        time.sleep(0.5)


def answers(url: str) -> bool:
    """Whether the address answers with success."""
    try:
        return requests.get(url, timeout=_TIMEOUT).ok
    except requests.RequestException:
        return False


def _ensure_work_pool(api_url: str) -> None:
    """Make the pool unless it is there; the worker fills in its template. Raises NotDeployed."""
    content = {"name": WORK_POOL, "type": "process", "description": "Flow runs as processes beside the worker."}
    try:
        answer = requests.post(f"{api_url}/work_pools/", json=content, timeout=_TIMEOUT)
    except requests.RequestException as error:
        raise NotDeployed(f"the work pool could not be made at {api_url}: {type(error).__name__}") from error
    if answer.status_code not in (requests.codes.created, requests.codes.conflict):
        raise NotDeployed(f"the work pool could not be made: HTTP {answer.status_code}")


def main() -> int:
    """Deploy to the server that PREFECT_API_URL names."""
    argparse.ArgumentParser(prog="python -m services.deploy", description=__doc__).parse_args()
    api_url = os.environ.get("PREFECT_API_URL", "").rstrip("/")
    if not api_url:
        print("error: set PREFECT_API_URL, such as http://127.0.0.1:4200/api", file=sys.stderr)
        return 1
    try:
        deploy(api_url)
    except NotDeployed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
