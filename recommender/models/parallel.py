"""Run work in blocks on all available cores."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from threadpoolctl import threadpool_limits


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_blocks(work: Callable[[slice], None], count: int, step: int) -> None:
    """Run `work` on rows 0 to `count` in blocks of `step`, one thread per core, with single-threaded BLAS.

    Blocks, and so results, do not depend on the number of cores. Raises the exceptions of `work`.
    """
    blocks = [slice(begin, min(begin + step, count)) for begin in range(0, count, step)]
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(cores()) as pool:
        for _ in pool.map(work, blocks):
            pass
