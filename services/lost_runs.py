"""Marks flow runs as crashed if their process ended when the services stopped.

While the services run, `python -m notifications.watchdog` marks such runs. `make up` marks them before it starts a
worker.
"""

from __future__ import annotations

from core.prefect_client import PrefectClient
from core.prefect_names import WORK_POOLS
from notifications.lost_runs import mark_as_lost, open_runs, run_ids_of_processes


def close_lost_runs(server: PrefectClient) -> int:
    """Mark open runs without a process as crashed, and return their number. Call it before a worker starts.

    Runs of a worker that a person started still have a process, and stay open. Raises RequestException.
    """
    local_run_ids = run_ids_of_processes()
    pool_filter = {"work_pools": {"name": {"any_": list(WORK_POOLS)}}}
    runs = [run for run in open_runs(server, pool_filter) if run["id"] not in local_run_ids]
    return sum(mark_as_lost(server, run, "The services were stopped while it ran; run it again.") for run in runs)
