"""Choose where blocks of work run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from compute.blocks import IN_PROCESS, BlockRunner
from core.settings import Settings


@contextmanager
def open_block_runner(settings: Settings) -> Iterator[BlockRunner]:
    """Yield a runner on the Dask cluster at DASK_SCHEDULER, or in this process if that setting is empty.

    Raises ClusterUnavailable.
    """
    if not settings.dask_scheduler:
        yield IN_PROCESS
        return
    from compute.cluster import ClusterSettings, DaskCluster  # imports Dask: a second
    from compute.processes import tls_arguments
    from compute.software import software_version

    cluster_settings = ClusterSettings(
        settings.dask_scheduler,
        software_version(settings),
        tls_arguments(settings),
        settings.dask_worker_seconds,
        settings.dask_block_seconds,
    )
    with DaskCluster.connect(cluster_settings) as cluster:
        yield cluster
