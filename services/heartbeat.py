"""`python -m services.heartbeat`: exit 0 while Prefect's background services on this host tell Redis that they live.

They listen on no port. Their worker writes down every two seconds that it runs, and what it can run; Redis forgets it
after ten. So this finds a process that is gone, that hangs, or that lost Redis; what a service fails at stands in its
log. For containers: the name of the host is part of a worker's.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys

from docket import Docket

_NAME = "prefect"
_TASK = "schedule_deployments"  # what Prefect's API, a worker too, cannot run


async def is_worker_alive(docket: Docket, host: str) -> bool:
    """Whether a worker of this host, who schedules deployments, was heard of."""
    return any(worker.name.startswith(f"{host}#") for worker in await docket.task_workers(_TASK))


async def _ask(url: str) -> bool:
    async with Docket(name=_NAME, url=url) as docket:
        return await is_worker_alive(docket, socket.gethostname())


def main() -> int:
    """Ask once."""
    argparse.ArgumentParser(prog="python -m services.heartbeat", description=__doc__).parse_args()
    try:
        if asyncio.run(_ask(os.environ["PREFECT_SERVER_DOCKET_URL"])):
            return 0
        print("no sign of life from Prefect's background services", file=sys.stderr)
    except Exception as error:
        print(f"Redis does not answer ({type(error).__name__})", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
