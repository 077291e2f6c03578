"""The health check of Prefect's background services in a container: exit code 0 while Redis has their heartbeat.

The services listen on no port. Every two seconds, their worker writes a heartbeat with its tasks to Redis. A heartbeat
expires after ten seconds. So this check finds a process that is gone, hangs, or lost Redis. Errors of a service are in
its log. The name of a worker begins with the name of its host, the container.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys

from docket import Docket

_NAME = "prefect"
_TASK = "schedule_deployments"  # Prefect's API is a worker too, but without this task


async def is_worker_alive(docket: Docket, host: str) -> bool:
    """Whether a worker of this host that schedules deployments has a heartbeat."""
    return any(worker.name.startswith(f"{host}#") for worker in await docket.task_workers(_TASK))


async def _check(url: str) -> bool:
    async with Docket(name=_NAME, url=url) as docket:
        return await is_worker_alive(docket, socket.gethostname())


def main() -> int:
    """Check once."""
    argparse.ArgumentParser(prog="python -m services.heartbeat", description=__doc__).parse_args()
    try:
        if asyncio.run(_check(os.environ["PREFECT_SERVER_DOCKET_URL"])):
            return 0
        print("Prefect's background services have no heartbeat", file=sys.stderr)
    except Exception as error:
        print(f"Redis does not answer ({type(error).__name__})", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
