"""Deletes runs of `erase` from a Prefect server: their parameters hold the id of the user who was erased."""

from __future__ import annotations

from datetime import datetime, timedelta

from notifications.prefect_client import PrefectClient

# Long enough to read how it ended; the record of the erasure is in ops.erasures.
KEPT_FOR = timedelta(minutes=10)
_ENDED = ["COMPLETED", "FAILED", "CANCELLED", "CRASHED"]
_AT_ONCE = 50


def delete_erase_runs(server: PrefectClient, *, ended_before: datetime) -> int:
    """Delete those that ended before then, with their logs; returns how many went. Raises RequestException."""
    wanted = {
        "flows": {"name": {"any_": ["erase"]}},
        "flow_runs": {"state": {"type": {"any_": _ENDED}}, "end_time": {"before_": ended_before.isoformat()}},
        "limit": _AT_ONCE,
    }
    deleted = 0
    while runs := server.ask("POST", "flow_runs/filter", wanted):
        for run in runs:
            server.ask("DELETE", f"flow_runs/{run['id']}")
        deleted += len(runs)
    return deleted
