"""Marks flow runs as crashed when their process is gone, so that they release the slot of their deployment.

A run is lost when nothing was seen of it for a while: no process on this machine, no heartbeat, no new state and,
while it is pending, no sign of the worker that took it. Prefect's server refuses to mark a run that has ended, so a run
that completes at the same moment stays completed.
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
from notifications.health_checks import WORK_POOL
from notifications.prefect_client import PrefectClient

_OPEN_STATES = ["PENDING", "RUNNING", "CANCELLING"]
_HEARTBEAT = "prefect.flow-run.heartbeat"
_RUN_OF_PROCESS = "PREFECT__FLOW_RUN_ID"
# Workers and runs report every 10 and 30 s. Where every process of the pool can be seen, less patience is needed.
SILENCE = timedelta(seconds=90)
SILENCE_OF_THIS_MACHINE = timedelta(seconds=60)
# Of a run that somebody made from a command line, no process is known: heartbeats that a locked database of Prefect's
# did not take must not count against it.
SILENCE_OF_COMMANDS = timedelta(minutes=3)
TAG = "moovitamix"  # of all our runs
# Signs older than this tell nothing: what is asked for stays small.
_SIGNS_SINCE = timedelta(minutes=5)
_EVENTS = 50  # the most that a server gives at once

Run = dict[str, Any]
# Per run: what was last seen of it, and when that was first seen, as ISO text. Fits in JSON.
Seen = dict[str, list[str]]


@dataclass
class LostRuns:
    """The open runs of one Prefect server, from look to look."""

    server: PrefectClient
    clock: Clock = utc_now
    silence: timedelta = SILENCE
    run_ids: Callable[[], Collection[str]] = lambda: run_ids_of_processes()

    def look(self, seen: Seen) -> tuple[Seen, list[str]]:
        """Mark the runs that are lost. Returns what to pass to the next look, and the names of the runs marked.

        Raises RequestException, after which the next look must begin anew, with nothing seen.
        """
        runs = open_runs(self.server, {"flow_runs": {"tags": {"all_": [TAG]}}})
        if not runs:
            return {}, []
        here, signs = self.run_ids(), self._signs(runs)
        now = self.clock()
        after: Seen = {}
        marked = []
        for run in runs:
            run_id, sign = run["id"], signs[run["id"]]
            last, since = seen.get(run_id, ["", ""])
            if run_id in here or sign != last:
                after[run_id] = [sign, now.isoformat()]
            elif now - datetime.fromisoformat(since) < (
                self.silence if run.get("work_pool_name") else SILENCE_OF_COMMANDS
            ):
                after[run_id] = [last, since]
            elif mark_as_lost(self.server, run, "Its process is gone; run it again."):
                marked.append(run["name"])
        return after, marked

    def _signs(self, runs: list[Run]) -> dict[str, str]:
        """The newest sign of life of each run: it differs from the one before while the run is alive."""
        heartbeats = self._newest_heartbeats([run["id"] for run in runs])
        reported = {"workers": {"last_heartbeat_time": {"after_": self._lately}}, "limit": 200}
        workers = self.server.ask("POST", f"work_pools/{WORK_POOL}/workers/filter", reported)
        return {
            run["id"]: " ".join([run["state"]["id"], heartbeats.get(run["id"], ""), *_signs_of_workers(run, workers)])
            for run in runs
        }

    @property
    def _lately(self) -> str:
        return (self.clock() - _SIGNS_SINCE).isoformat()

    def _newest_heartbeats(self, run_ids: list[str]) -> dict[str, str]:
        """When each run last sent one, of those that sent any in the last minutes."""
        events = {
            "event": {"name": [_HEARTBEAT]},
            "resource": {"id": [f"prefect.flow-run.{run_id}" for run_id in run_ids]},
            "occurred": {"since": self._lately},
            "order": "DESC",
        }
        newest: dict[str, str] = {}
        for event in self.server.ask("POST", "events/filter", {"filter": events, "limit": _EVENTS})["events"]:
            run_id = event["resource"]["prefect.resource.id"].removeprefix("prefect.flow-run.")
            newest.setdefault(run_id, event["occurred"])
        return newest


def open_runs(server: PrefectClient, of: dict[str, Any]) -> list[Run]:
    """Runs of these, as filters of Prefect's API, that have begun or were taken by a worker, and have not ended.

    Raises RequestException.
    """
    states = {"state": {"type": {"any_": _OPEN_STATES}}}
    wanted = of | {"flow_runs": of.get("flow_runs", {}) | states}
    runs: list[Run] = server.ask("POST", "flow_runs/filter", wanted)
    return runs


def mark_as_lost(server: PrefectClient, run: Run, why: str) -> bool:
    """Mark an open run as crashed, or as cancelled when somebody asked for that; returns whether it was still open.

    Not forced: the server decides under its lock, and refuses when the run has ended. Raises RequestException.
    """
    cancelling = run["state"]["type"] == "CANCELLING"  # from where the server allows no other state than Cancelled
    state = {"type": "CANCELLED" if cancelling else "CRASHED", "message": why}
    answer = server.ask("POST", f"flow_runs/{run['id']}/set_state", {"state": state})
    return bool(answer["status"] == "ACCEPT")


def run_ids_of_processes() -> set[str]:
    """The flow runs that have a process on this machine.

    Only Prefect's own process counts: what a run started, such as Postgres or a trial of a model, may outlive it.
    """
    run_ids = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            run_id = process.environ().get(_RUN_OF_PROCESS)
            if run_id and any(word.startswith("prefect.") for word in process.cmdline()):
                run_ids.add(run_id)
    return run_ids


def sees_every_process() -> bool:
    """Whether all workers run on this machine, as programs of the supervisor that started this one too."""
    return "SUPERVISOR_SERVER_URL" in os.environ


def _signs_of_workers(run: Run, workers: list[dict[str, Any]]) -> list[str]:
    """When the worker that took a pending run last reported, or while that is unknown, each that may have taken it."""
    if run["state"]["type"] != "PENDING":
        return []
    name = (run.get("labels") or {}).get("prefect.worker.name")
    taken = datetime.fromisoformat(run["state"]["timestamp"])
    return sorted(
        str(worker["last_heartbeat_time"])
        for worker in workers
        if (worker["name"] == name if name else datetime.fromisoformat(worker["created"]) <= taken)
    )
