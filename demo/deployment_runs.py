"""Runs of deployments that a demo starts on Prefect's server, and waits for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from core.prefect_client import PrefectClient
from demo.environment import DemoError

_FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def start_run(server: PrefectClient, deployment: str, **parameters: str) -> str:
    """Start a run of a deployment such as ingest/daily. Return its id. Raises RequestException."""
    deployment_id = server.ask("GET", f"deployments/name/{deployment}")["id"]
    run = server.ask("POST", f"deployments/{deployment_id}/create_flow_run", {"parameters": parameters})
    return str(run["id"])


def wait_for_run(server: PrefectClient, run_id: str, seconds: float) -> str:
    """Return the name of the final state of a run. Raises DemoError if it has none after that many seconds."""
    state: dict[str, Any] = {}

    def has_ended() -> bool:
        state.update(server.ask("GET", f"flow_runs/{run_id}")["state"])
        return state["type"] in _FINAL

    wait_until(has_ended, seconds, "a run")
    return str(state["name"])


def running_tasks(server: PrefectClient, run_id: str) -> set[str]:
    """The names of the tasks of a run that are running, without the number that Prefect appends."""
    filters = {"flow_runs": {"id": {"any_": [run_id]}}, "task_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}
    return {task_run["name"] for task_run in server.ask("POST", "task_runs/filter", filters)}


def wait_until(condition: Callable[[], bool], seconds: float, expected: str, interval: float = 0.5) -> None:
    """Wait until the condition holds. Raises DemoError after that many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise DemoError(f"{expected} did not end within {seconds:g} s")
        time.sleep(interval)
