"""Run work in blocks on all available cores."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from threadpoolctl import threadpool_limits

from compute.blocks import cores


def in_blocks(work: Callable[[slice], None], count: int, step: int, threads: int | None = None) -> None:
    """Run `work` on rows 0 to `count` in blocks of `step`, with single-threaded BLAS.

    It uses `threads`, by default one per core. Blocks, and so results, do not depend on their number. Raises the
    exceptions of `work`.
    """
    blocks = [slice(begin, min(begin + step, count)) for begin in range(0, count, step)]
    threads = min(cores() if threads is None else threads, len(blocks))
    with threadpool_limits(1, "blas"):
        if threads <= 1:
            for block in blocks:
                work(block)
            return
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(work, blocks):
                pass
