"""Closes flow runs that say they run and have no process any more, because the services were stopped or killed.

While the services run, `python -m notifications.watchdog` marks such runs. This module marks them at once, before a
worker starts.
"""

from __future__ import annotations

from core.prefect_client import PrefectClient
from notifications.lost_runs import mark_as_lost, open_runs, run_ids_of_processes
from services.local_services import WORK_POOL


def close_lost_runs(server: PrefectClient) -> int:
    """Mark them as crashed; returns how many. Call it only while no worker of the pool has begun to work.

    A run that still has a process, of a worker that somebody started by hand, is left alone. Raises RequestException.
    """
    here = run_ids_of_processes()
    of_workers = {"work_pools": {"name": {"any_": [WORK_POOL]}}}
    runs = [run for run in open_runs(server, of_workers) if run["id"] not in here]
    return sum(mark_as_lost(server, run, "The services were stopped while it ran; run it again.") for run in runs)
