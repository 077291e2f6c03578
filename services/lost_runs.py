"""Closes flow runs that say they run and have no process any more, because the services were stopped or killed.

Left alone they would stay "Running" for good, and hold the only slot of their deployment for minutes.
"""

from __future__ import annotations

from services.automations import Server
from services.plan import WORK_POOL

_CRASHED = {"type": "CRASHED", "name": "Crashed", "message": "The services were stopped while it ran; run it again."}


def close_lost_runs(server: Server) -> int:
    """Mark them as crashed; returns how many. Call it only while no worker of the pool has begun to work.

    Raises RequestException.
    """
    lost = server.ask(
        "POST",
        "flow_runs/filter",
        {
            "flow_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}},
            "work_pools": {"name": {"any_": [WORK_POOL]}},
        },
    )
    for run in lost:
        server.ask("POST", f"flow_runs/{run['id']}/set_state", {"state": _CRASHED, "force": True})
    return len(lost)
