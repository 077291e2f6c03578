"""Closes flow runs that say they run and have no process any more, because the services were stopped or killed.

Left alone they would stay "Running" for good, and hold the only slot of their deployment for minutes.
"""

from __future__ import annotations

from typing import Any

import requests

from services.plan import WORK_POOL

_TIMEOUT = 10.0
_CRASHED = {"type": "CRASHED", "name": "Crashed", "message": "The services were stopped while it ran; run it again."}


def close_lost_runs(api_url: str) -> int:
    """Mark them as crashed; returns how many. Call it only while no worker of the pool has begun to work.

    Raises RequestException.
    """
    lost = _ask(
        f"{api_url}/flow_runs/filter",
        {
            "flow_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}},
            "work_pools": {"name": {"any_": [WORK_POOL]}},
        },
    )
    for run in lost:
        _ask(f"{api_url}/flow_runs/{run['id']}/set_state", {"state": _CRASHED, "force": True})
    return len(lost)


def _ask(url: str, content: dict[str, Any]) -> Any:
    answer = requests.post(url, json=content, timeout=_TIMEOUT)
    answer.raise_for_status()
    return answer.json()
