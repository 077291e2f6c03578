"""Deletes `erase` runs from a Prefect server, because their parameters contain the id of the erased user."""

from __future__ import annotations

from datetime import datetime, timedelta

from core.prefect_client import PrefectClient

# Time to read the result in the UI. The permanent record is in ops.erasures.
RETENTION = timedelta(minutes=10)
_FINAL_STATES = ["COMPLETED", "FAILED", "CANCELLED", "CRASHED"]
_RUNS_PER_REQUEST = 50


def delete_erase_runs(server: PrefectClient, *, ended_before: datetime) -> int:
    """Delete erase runs that ended before that time, with their logs. Return their number. Raises RequestException."""
    run_filter = {
        "flows": {"name": {"any_": ["erase"]}},
        "flow_runs": {"state": {"type": {"any_": _FINAL_STATES}}, "end_time": {"before_": ended_before.isoformat()}},
        "limit": _RUNS_PER_REQUEST,
    }
    deleted = 0
    while runs := server.ask("POST", "flow_runs/filter", run_filter):
        for run in runs:
            server.ask("DELETE", f"flow_runs/{run['id']}")
        deleted += len(runs)
    return deleted
