"""Run the scheduler of the Dask cluster.

`python -m compute.scheduler` runs until it gets SIGTERM or SIGINT. Workers that run another version are refused.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import dask
from distributed import Scheduler

from compute.processes import (
    FEW_WAKE_UPS,
    add_address_options,
    protocol_of,
    refuse_open_port,
    run_until_signal,
    security_of,
)
from compute.software import software_version
from compute.worker_state import STATE_PREFIX
from core.exit_codes import returns_exit_code, run_main
from core.settings import Settings, load_settings

_REFUSALS_REMEMBERED = 20
_CONFIG = {
    # A worker that does not answer for this long is removed, and its blocks run elsewhere.
    "distributed.scheduler.worker-ttl": "60 seconds",
    # Another copy of a result is not worth a transfer.
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.scheduler.http.routes": [],
    **FEW_WAKE_UPS,
}


class VersionedScheduler(Scheduler):
    """Dask's scheduler, which refuses workers of another version and forgets the state of clients that left."""

    def __init__(self, version: str, **arguments: Any) -> None:
        self._version = version
        self._refused: list[str] = []
        super().__init__(**arguments)
        self.handlers["moovitamix_cluster"] = self.describe_cluster

    def describe_cluster(self) -> dict[str, Any]:
        """The version of the cluster, and why workers were refused."""
        return {"version": self._version, "refused": self._refused}

    async def add_worker(self, comm: Any, *, address: str, extra: dict[str, Any], **arguments: Any) -> None:
        """Add a worker of the same version. A worker of another version gets the reason, and ends."""
        version = extra.get("version", "unknown: start it with `moovitamix compute worker`")
        if version == self._version:
            await super().add_worker(comm, address=address, extra=extra, **arguments)
            return
        reason = f"the worker {address} runs another version ({version}) than the scheduler ({self._version})"
        self._refused = [*self._refused, reason][-_REFUSALS_REMEMBERED:]
        print(f"refused: {reason}", file=sys.stderr, flush=True)
        await comm.write({"status": "error", "message": f"{reason}; deploy the same version", "time": 0.0})

    def remove_client(self, client: str, stimulus_id: str | None = None) -> None:
        """Forget what a client sent to the workers. A killed flow cannot do so itself."""
        super().remove_client(client, stimulus_id)
        for name in [name for name in self.worker_plugins if name.startswith(f"{STATE_PREFIX}{client}-")]:
            self.loop.add_callback(self.unregister_worker_plugin, None, name)


async def serve(settings: Settings, host: str, port: int, contact_address: str | None = None) -> None:
    """Run the scheduler until a signal."""
    with dask.config.set(_CONFIG):
        async with VersionedScheduler(
            software_version(settings),
            host=host,
            port=port,
            protocol=protocol_of(settings),
            security=security_of(settings),
            contact_address=contact_address,
            dashboard=False,
            dashboard_address="127.0.0.1:0",
            # The first death of a worker fails its blocks: the flow runs each again, alone.
            allowed_failures=0,
        ) as scheduler:
            print(f"the Dask scheduler listens on {scheduler.address}", flush=True)
            await run_until_signal(scheduler)


@returns_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m compute.scheduler", description=__doc__)
    add_address_options(parser, port=8786)
    options = parser.parse_args(arguments)
    settings = load_settings()
    refuse_open_port(settings, options.host)
    asyncio.run(serve(settings, options.host, options.port, options.contact_address))
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
