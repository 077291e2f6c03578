"""Run a worker of the Dask cluster of DASK_SCHEDULER.

`python -m compute.worker` runs until it gets SIGTERM or SIGINT, or its scheduler is lost. A process that dies is
restarted. One worker per machine is enough: its threads share the model.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import dask
from distributed import Nanny

from compute.blocks import cores
from compute.processes import (
    FEW_WAKE_UPS,
    add_address_options,
    protocol_of,
    refuse_open_port,
    run_until_signal,
    security_of,
)
from compute.software import software_version
from core.data_layout import DataLayout
from core.errors import ClusterUnavailable, SettingsError
from core.exit_codes import returns_exit_code, run_main
from core.roles import RECOMMENDER, has_login
from core.settings import Settings, load_settings
from core.temporary_files import keep_temporary_files_in

_MB = 2**20
_CONFIG = {
    # The scores of a block are arrays of up to 16 MiB. If their memory is returned to the system, the kernel clears it
    # for the next block, which took a quarter of the time of a block. 32 MiB is the largest threshold of glibc.
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 32 * _MB,
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 256 * _MB,
    "distributed.worker.profile.enabled": False,  # it would use CPU time a hundred times a second
    "distributed.worker.http.routes": [],
    **FEW_WAKE_UPS,
    # A worker stores only results, and the flow fetches them at once.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    # A model stays in memory until the end of its job, so a paused worker would never continue.
    "distributed.worker.memory.pause": False,
}


def _text(worker: Any, text: str) -> str:
    return text


async def serve(
    settings: Settings,
    host: str,
    port: int,
    *,
    threads: int,
    trials: int,
    memory_mb: float | None,
    contact_address: str | None = None,
) -> None:
    """Run the worker until a signal. Raises ClusterUnavailable if it cannot join the cluster.

    It computes up to `threads` blocks and `trials` trials at once. A process that uses `memory_mb` MiB is restarted.
    Without `memory_mb`, there is no limit. Port 0 chooses a free port.
    """
    keep_temporary_files_in(settings.data_dir)
    with dask.config.set(_CONFIG):
        nanny = Nanny(
            settings.dask_scheduler,
            nthreads=threads,
            host=host,
            worker_port=port,
            protocol=protocol_of(settings),
            security=security_of(settings),
            contact_address=contact_address,
            memory_limit=memory_mb * _MB if memory_mb else 0,
            resources={"trial": trials, RECOMMENDER: threads if has_login(settings, RECOMMENDER) else 0},
            local_directory=str(DataLayout(settings.data_dir).temporary_files),
            dashboard_address="127.0.0.1:0",
            dashboard=False,
            preload=["compute.worker_process"],
            death_timeout=settings.dask_worker_seconds,
            startup_information={"version": partial(_text, text=software_version(settings))},
        )
        try:
            async with nanny:
                print(f"the Dask worker joined {settings.dask_scheduler}", flush=True)
                await run_until_signal(nanny)
        except (OSError, ValueError, RuntimeError, TimeoutError) as error:
            raise ClusterUnavailable(
                f"the worker cannot join {settings.dask_scheduler} (DASK_SCHEDULER): {_root_cause(error)}"
            ) from error


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__


@returns_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m compute.worker", description=__doc__)
    add_address_options(parser, port=0)
    parser.add_argument("--threads", type=int, help="blocks computed at once (default: one per core)")
    parser.add_argument(
        "--trials", type=int, default=1, help="trials of the model search at once (default: %(default)s)"
    )
    parser.add_argument(
        "--memory-mb", type=float, help="MiB of memory at which the process of the worker is restarted (default: none)"
    )
    options = parser.parse_args(arguments)
    if options.threads is not None and options.threads < 1:
        parser.error("argument --threads: must be at least 1")
    if options.trials < 0:
        parser.error("argument --trials: must be at least 0")
    settings = load_settings()
    if not settings.dask_scheduler:
        raise SettingsError("wrong setting: DASK_SCHEDULER is empty; set it to the address of the Dask scheduler")
    refuse_open_port(settings, options.host)
    asyncio.run(
        serve(
            settings,
            options.host,
            options.port,
            threads=options.threads or cores(),
            trials=options.trials,
            memory_mb=options.memory_mb,
            contact_address=options.contact_address,
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
