"""Simulate a job of `compute/cluster.py` on many workers: a flow sends blocks, workers compute them, workers die.

The simulation follows the rules of the cluster: the flow keeps a few blocks more than there are threads on their way,
and handles one result at a time. A block whose worker dies runs again after all others, alone.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compute.cluster import BLOCKS_PER_THREAD


@dataclass(frozen=True)
class SimulatedCluster:
    """Workers with some threads each. Each worker dies every `hours_between_deaths` on average, at random.

    `restart_seconds` is the time from a death to the first block of the new process.
    """

    workers: int
    threads: int
    hours_between_deaths: float
    restart_seconds: float


@dataclass(frozen=True)
class SimulatedBlocks:
    """The blocks of a job. A block takes one of `seconds` on a thread, each with the same probability.

    `flow_seconds` is the time of the flow for each block: to send it, and to receive and store its result.
    """

    count: int
    seconds: Sequence[float]
    flow_seconds: float


@dataclass(frozen=True)
class JobTimes:
    """How long a job takes, the seconds in which threads computed, and the blocks that ran again."""

    seconds: float
    thread_seconds: float
    repeated_blocks: int


def simulate_job(cluster: SimulatedCluster, blocks: SimulatedBlocks, rng: np.random.Generator) -> JobTimes:
    """Simulate all blocks of a job."""
    durations = rng.choice(np.asarray(blocks.seconds, np.float64), blocks.count)
    job = _Job(cluster, blocks.flow_seconds, rng)
    suspects = job.run(durations, BLOCKS_PER_THREAD)
    repeated = 0
    while suspects:
        repeated += 1
        if not job.run(durations[suspects[:1]], BLOCKS_PER_THREAD):
            suspects = suspects[1:]
    return JobTimes(job.flow_at, job.thread_seconds, repeated)


class _Job:
    """The state of a job: when the flow and each thread are free, and when each worker dies."""

    def __init__(self, cluster: SimulatedCluster, flow_seconds: float, rng: np.random.Generator) -> None:
        self.flow_at = self.thread_seconds = 0.0
        self._cluster, self._flow_seconds, self._rng = cluster, flow_seconds, rng
        self._free = [(0.0, worker) for worker in range(cluster.workers) for _ in range(cluster.threads)]
        self._deaths = [[self._seconds_to_death()] for _ in range(cluster.workers)]

    def run(self, durations: NDArray[np.float64], blocks_per_thread: int) -> list[int]:
        """Compute each block once. Returns the blocks whose worker died."""
        running: list[tuple[float, int, bool]] = []
        suspects: list[int] = []
        sent = 0
        while sent < len(durations) or running:
            while sent < len(durations) and len(running) < blocks_per_thread * len(self._free):
                heapq.heappush(running, self._start(sent, float(durations[sent])))
                sent += 1
            finished_at, number, died = heapq.heappop(running)
            self.flow_at = max(self.flow_at, finished_at)
            if died:
                suspects.append(number)
            else:
                self.flow_at += self._flow_seconds
        return suspects

    def _start(self, number: int, seconds: float) -> tuple[float, int, bool]:
        """Compute a block on the thread that is free first. Returns its end, and whether its worker died."""
        free_at, worker = self._free[0]
        begin, death = self._begin(worker, max(free_at, self.flow_at))
        end = min(begin + seconds, death)
        self.thread_seconds += end - begin
        heapq.heapreplace(self._free, (end, worker))
        return end, number, death == end

    def _begin(self, worker: int, at: float) -> tuple[float, float]:
        """The time at which a worker can begin a block, after a restart if it died; and the time of its next death."""
        deaths = self._deaths[worker]
        while deaths[-1] <= at:
            deaths.append(deaths[-1] + self._cluster.restart_seconds + self._seconds_to_death())
        position = bisect_right(deaths, at)
        began = max(at, deaths[position - 1] + self._cluster.restart_seconds) if position else at
        return began, deaths[position]

    def _seconds_to_death(self) -> float:
        return float(self._rng.exponential(self._cluster.hours_between_deaths * 3_600))
