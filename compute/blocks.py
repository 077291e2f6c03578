"""One interface to run blocks of work and yield their results, and its implementation in this process.

A block is a part of some work that needs no other part, such as the users that are scored together. Its result depends
on nothing but the state and the block, so it may run anywhere, and again.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from threadpoolctl import threadpool_limits

State = TypeVar("State")
Block = TypeVar("Block")
Result = TypeVar("Result")


@dataclass(frozen=True)
class BlockJob(Generic[State, Block, Result]):
    """A kind of work. `name` is its name in messages, such as "score users".

    `compute` is a function of a module, because workers import it. One thread calls it with the state and one block.
    BLAS has one thread too. The function must not change the state, which other threads use. If `resource` is set, a
    worker uses one unit of it for each block. In this process, such blocks run one after another. A block may take
    `seconds` longer than usual, and `seconds_per_thread` longer for each thread of the workers: threads may share a
    limit, such as requests per second.

    `describe` names a block from its position and content. If a block ends its worker, `failure_result` returns the
    result of that block from the block and the reason. Without it, the job fails.
    """

    name: str
    compute: Callable[[State, Block], Result]
    resource: str = ""
    seconds: float = 0.0
    seconds_per_thread: float = 0.0
    describe: Callable[[int, Block], str] = lambda number, block: f"block {number}"
    failure_result: Callable[[Block, str], Result] | None = None


class ClosableState(ABC):
    """A state that opens files or connections on its worker."""

    @abstractmethod
    def close(self) -> None:
        """Close or delete the files and connections when the job has ended."""


class BlockRunner(ABC):
    """Runs blocks and yields their results."""

    @abstractmethod
    def run(
        self, job: BlockJob[State, Block, Result], state: State, blocks: Sequence[Block]
    ) -> Iterator[tuple[int, Result]]:
        """Yield the position and the result of every block, in any order.

        The state is sent to each worker once. Raises the error of a block, or ComputeError if a cluster cannot compute
        the blocks.
        """

    def has_workers(self, resource: str) -> bool:
        """Whether workers in other processes offer a resource. Without workers: false."""
        return False


class InProcessBlockRunner(BlockRunner):
    """Runs blocks in this process, one thread per core."""

    def run(
        self, job: BlockJob[State, Block, Result], state: State, blocks: Sequence[Block]
    ) -> Iterator[tuple[int, Result]]:
        """See BlockRunner. Up to one block per core is computed ahead of the consumer. Raises the error of a block."""
        threads = 1 if job.resource else min(cores(), len(blocks))
        if threads <= 1:
            with threadpool_limits(1, "blas"):
                for number, block in enumerate(blocks):
                    yield number, job.compute(state, block)
            return
        running: deque[tuple[int, Future[Result]]] = deque()
        # One limit around all blocks: if a thread ended its own limit, it would end for all threads.
        with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
            try:
                for number, block in enumerate(blocks):
                    running.append((number, pool.submit(job.compute, state, block)))
                    if len(running) > threads:
                        first, future = running.popleft()
                        yield first, future.result()
                while running:
                    first, future = running.popleft()
                    yield first, future.result()
            finally:
                for _, future in running:
                    future.cancel()


IN_PROCESS = InProcessBlockRunner()


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
