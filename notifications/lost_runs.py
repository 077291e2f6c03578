"""Marks flow runs as crashed when their process is gone, so that they release the slot of their deployment.

A run is lost when it shows no sign of life for a while: no process on this machine, no heartbeat and no new state. For
a pending run, the heartbeat of the worker that took it counts too. Prefect's server refuses to mark a run that has
ended, so a run that completes at the same moment stays completed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psutil

from core.clock import Clock, utc_now
from core.prefect_client import PrefectClient
from core.prefect_names import RUN_TAG, WORK_POOLS

_OPEN_STATES = ["PENDING", "RUNNING", "CANCELLING"]
_HEARTBEAT = "prefect.flow-run.heartbeat"
_RUN_OF_PROCESS = "PREFECT__FLOW_RUN_ID"
# A worker reports every 10 s, a run every 30 s. A shorter time is enough where all processes of the pool are visible.
SILENCE = timedelta(seconds=90)
SILENCE_OF_THIS_MACHINE = timedelta(seconds=60)
# A run from a command line shows its heartbeats only, and a locked Prefect database may miss some of them.
SILENCE_OF_COMMANDS = timedelta(minutes=3)
# Only signs of the last minutes are requested, to keep responses small.
_SIGNS_SINCE = timedelta(minutes=5)
_EVENTS = 50  # maximum of the server

Run = dict[str, Any]
# By run id: the newest sign of life, and when it was first seen, as ISO text. JSON can hold it.
SignsOfLife = dict[str, list[str]]


@dataclass
class LostRuns:
    """Finds lost runs of one Prefect server."""

    server: PrefectClient
    clock: Clock = utc_now
    silence: timedelta = SILENCE
    run_ids: Callable[[], Collection[str]] = lambda: run_ids_of_processes()

    def mark(self, previous: SignsOfLife) -> tuple[SignsOfLife, list[str]]:
        """Mark lost runs. Return the signs of life to pass to the next call, and the names of the marked runs.

        Raises RequestException; pass no signs of life to the next call then.
        """
        runs = open_runs(self.server, {"flow_runs": {"tags": {"all_": [RUN_TAG]}}})
        if not runs:
            return {}, []
        local_run_ids, signs = self.run_ids(), self._signs(runs)
        now = self.clock()
        current: SignsOfLife = {}
        marked = []
        for run in runs:
            run_id, sign = run["id"], signs[run["id"]]
            last_sign, since = previous.get(run_id, ["", ""])
            limit = self.silence if run.get("work_pool_name") else SILENCE_OF_COMMANDS
            if run_id in local_run_ids or sign != last_sign:
                current[run_id] = [sign, now.isoformat()]
            elif now - datetime.fromisoformat(since) < limit:
                current[run_id] = [last_sign, since]
            elif mark_as_lost(self.server, run, "Its process is gone; run it again."):
                marked.append(run["name"])
        return current, marked

    def _signs(self, runs: list[Run]) -> dict[str, str]:
        """Return the newest sign of life of each run id. It changes while the run is alive."""
        heartbeats = self._newest_heartbeats([run["id"] for run in runs])
        worker_filter = {"workers": {"last_heartbeat_time": {"after_": self._signs_since}}, "limit": 200}
        workers = [
            worker
            for pool in WORK_POOLS
            for worker in self.server.ask("POST", f"work_pools/{pool}/workers/filter", worker_filter)
        ]
        return {
            run["id"]: " ".join([run["state"]["id"], heartbeats.get(run["id"], ""), *_signs_of_workers(run, workers)])
            for run in runs
        }

    @property
    def _signs_since(self) -> str:
        return (self.clock() - _SIGNS_SINCE).isoformat()

    def _newest_heartbeats(self, run_ids: list[str]) -> dict[str, str]:
        """Return the time of the newest heartbeat by run id. Runs without a recent one are missing."""
        event_filter = {
            "event": {"name": [_HEARTBEAT]},
            "resource": {"id": [f"prefect.flow-run.{run_id}" for run_id in run_ids]},
            "occurred": {"since": self._signs_since},
            "order": "DESC",
        }
        newest: dict[str, str] = {}
        for event in self.server.ask("POST", "events/filter", {"filter": event_filter, "limit": _EVENTS})["events"]:
            run_id = event["resource"]["prefect.resource.id"].removeprefix("prefect.flow-run.")
            newest.setdefault(run_id, event["occurred"])
        return newest


def open_runs(server: PrefectClient, filters: dict[str, Any]) -> list[Run]:
    """Return the runs that match Prefect's filters and are pending, running or cancelling. Raises RequestException."""
    states = {"state": {"type": {"any_": _OPEN_STATES}}}
    filters = filters | {"flow_runs": filters.get("flow_runs", {}) | states}
    runs: list[Run] = server.ask("POST", "flow_runs/filter", filters)
    return runs


def mark_as_lost(server: PrefectClient, run: Run, message: str) -> bool:
    """Mark an open run as crashed, or a cancelling run as cancelled. Return whether it was still open.

    The change is not forced: the server refuses it if the run has ended meanwhile. Raises RequestException.
    """
    cancelling = run["state"]["type"] == "CANCELLING"  # its only next state that the server allows is CANCELLED
    state = {"type": "CANCELLED" if cancelling else "CRASHED", "message": message}
    answer = server.ask("POST", f"flow_runs/{run['id']}/set_state", {"state": state})
    return bool(answer["status"] == "ACCEPT")


def run_ids_of_processes() -> set[str]:
    """Return the ids of the flow runs that have a process on this machine.

    Only Prefect's own process counts. Processes that the run started, such as Postgres or a trial, may outlive it.
    """
    run_ids = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            run_id = process.environ().get(_RUN_OF_PROCESS)
            if run_id and any(word.startswith("prefect.") for word in process.cmdline()):
                run_ids.add(run_id)
    return run_ids


def sees_every_process() -> bool:
    """Whether all workers run on this machine: `make up` started this process."""
    return "SUPERVISOR_SERVER_URL" in os.environ


def _signs_of_workers(run: Run, workers: list[dict[str, Any]]) -> list[str]:
    """Return the last heartbeat of the worker that took a pending run.

    While that worker is unknown, return the heartbeats of all workers that may have taken the run.
    """
    if run["state"]["type"] != "PENDING":
        return []
    name = (run.get("labels") or {}).get("prefect.worker.name")
    pending_since = datetime.fromisoformat(run["state"]["timestamp"])
    return sorted(
        str(worker["last_heartbeat_time"])
        for worker in workers
        if (worker["name"] == name if name else datetime.fromisoformat(worker["created"]) <= pending_since)
    )
