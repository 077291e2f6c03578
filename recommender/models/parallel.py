"""Work in blocks, on all cores that this process may use."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from threadpoolctl import threadpool_limits


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_blocks(work: Callable[[slice], None], count: int, step: int) -> None:
    """Do the work for rows 0 to `count`, `step` at a time, a thread a core, each with one thread of linear algebra.

    Blocks are the same however many cores there are, so the results are, too. Raises what the work raises.
    """
    blocks = [slice(begin, min(begin + step, count)) for begin in range(0, count, step)]
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(cores()) as pool:
        for _ in pool.map(work, blocks):
            pass
