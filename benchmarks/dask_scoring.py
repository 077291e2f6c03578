"""Scoring on a Dask cluster of this machine against scoring in the process: CPU time, bytes sent, memory."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import psutil

from benchmarks.context import BenchmarkContext
from benchmarks.figures import Figure, Measurement, Table
from benchmarks.processes import Show, peak_bytes
from benchmarks.sample_data import make_plays
from benchmarks.source import ROOT
from compute.blocks import IN_PROCESS, BlockRunner
from compute.runner import open_block_runner
from core.settings import Settings
from recommender.data.interactions import Interactions
from recommender.models.base import Recommender
from recommender.models.popularity import GenrePopularity
from recommender.models.registry import ChebyshevWithALS
from recommender.publishing.recommendation_lists import (
    USERS_PER_BLOCK,
    Scorer,
    recommend_to_all_users,
    user_blocks,
)

N = 50
WORKERS = 2
_VERSION = "benchmark"


@dataclass(frozen=True)
class DaskScoring:
    """The results. CPU seconds are those of all processes that take part; bytes are those of pickles."""

    whole_seconds: float
    in_process_seconds: float
    cluster_seconds: float
    start_seconds: float
    block_seconds: float
    state_bytes: int
    block_bytes: float
    result_bytes: float
    scheduler_memory: int
    worker_memory: int


def measure(context: BenchmarkContext) -> Measurement:
    """Score the same users in the process and on two workers, in turns."""
    users, tracks = context.capped(20_000, 40_000)
    result: DaskScoring = context.run(context.show, compare, users, tracks, context.rounds, context.folder).result
    sizes = f"{users:,} users x {tracks:,} tracks, Chebyshev filter with ALS, {WORKERS} workers of one thread"
    figures = [
        Figure(
            "scoring on Dask: CPU seconds of flow, scheduler and workers, against the process",
            result.cluster_seconds / result.in_process_seconds,
            f"{result.cluster_seconds:.1f} s against {result.in_process_seconds:.1f} s; {sizes}",
            at_most=1.15,
        ),
        Figure(
            "scoring in blocks: CPU seconds, against one call for all users",
            result.in_process_seconds / result.whole_seconds,
            f"{result.in_process_seconds:.1f} s against {result.whole_seconds:.1f} s; {sizes}",
        ),
    ]
    rows = [
        f"bytes to the workers, per user | {result.block_bytes:,.0f}",
        f"bytes to each worker, once (the model) | {result.state_bytes:,}",
        f"bytes to the flow, per user ({N} recommendations) | {result.result_bytes:,.0f}",
        f"peak memory of the scheduler, MB | {result.scheduler_memory / 1e6:,.0f}",
        f"peak memory of a worker and its nanny, MB | {result.worker_memory / 1e6:,.0f}",
        f"CPU seconds to start scheduler and workers | {result.start_seconds:.1f}",
        f"CPU seconds of a block of {USERS_PER_BLOCK:,} users | {result.block_seconds:.2f}",
    ]
    return Measurement(figures, [Table("Scoring on Dask", "what | measured", rows, f"{sizes}.")])


def compare(show: Show, users: int, tracks: int, rounds: int, folder: Path) -> DaskScoring:
    """Measure both sides in turns, after one fit."""
    show("generating plays")
    plays = make_plays(users, tracks, 33 * users)
    show("fitting the Chebyshev filter with ALS")
    model, fallback = ChebyshevWithALS().fit(plays), GenrePopularity().fit(plays)
    state = Scorer(model, fallback, plays.track_ids, np.unique(plays.genres), N, exclude_seen=True)
    block = user_blocks(plays)[0]
    begin = time.thread_time()
    result = state.recommend(block)
    block_seconds = time.thread_time() - begin
    with local_cluster(folder) as (settings, processes):
        start_seconds = sum(map(_cpu_seconds, processes))
        whole, in_process, cluster = [], [], []
        with open_block_runner(settings) as runner:
            for number in range(rounds):
                show(f"scoring, {number + 1} of {rounds}")
                whole.append(_seconds_of_one_call(model, plays))
                in_process.append(_seconds_of(IN_PROCESS, model, fallback, plays, []))
                cluster.append(_seconds_of(runner, model, fallback, plays, processes))
        scheduler_memory, *worker_memory = map(_peak_bytes, processes)
    return DaskScoring(
        median(whole),
        median(in_process),
        median(cluster),
        start_seconds,
        block_seconds,
        len(pickle.dumps(state, protocol=5)),
        len(pickle.dumps(block, protocol=5)) / len(block.user_ids),
        len(pickle.dumps(result, protocol=5)) / len(block.user_ids),
        scheduler_memory,
        max(worker_memory),
    )


def _seconds_of_one_call(model: Recommender, plays: Interactions) -> float:
    begin = time.process_time()
    model.fold_in(plays).recommend(plays.user_ids, N, plays)
    return time.process_time() - begin


def _seconds_of(
    runner: BlockRunner,
    model: Recommender,
    fallback: GenrePopularity,
    plays: Interactions,
    processes: Sequence[psutil.Process],
) -> float:
    """CPU seconds of this process and of others, from the first block to the last frame."""
    begin = time.process_time() + sum(map(_cpu_seconds, processes))
    for _ in recommend_to_all_users(model, fallback, plays, N, exclude_seen=True, runner=runner):
        pass
    return time.process_time() + sum(map(_cpu_seconds, processes)) - begin


@contextmanager
def local_cluster(folder: Path) -> Iterator[tuple[Settings, list[psutil.Process]]]:
    """A scheduler and two workers of one thread on loopback, with settings for a flow that uses them."""
    with ExitStack() as stack:
        scheduler, line = stack.enter_context(_started(folder / "scheduler", "compute.scheduler", ["--port", "0"], {}))
        address = line.split()[-1]
        processes = [scheduler]
        for number in range(WORKERS):
            worker = _started(
                folder / f"worker-{number}", "compute.worker", ["--threads", "1"], {"DASK_SCHEDULER": address}
            )
            processes.append(stack.enter_context(worker)[0])
        yield Settings(dask_scheduler=address, code_version=_VERSION, data_dir=folder), processes


@contextmanager
def _started(
    folder: Path, module: str, arguments: Sequence[str], environment: dict[str, str]
) -> Iterator[tuple[psutil.Process, str]]:
    """A process, and the first line that it prints."""
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, "DATA_DIR": str(folder), "CODE_VERSION": _VERSION, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        yield psutil.Process(process.pid), line
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _cpu_seconds(process: psutil.Process) -> float:
    times = [member.cpu_times() for member in (process, *process.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def _peak_bytes(process: psutil.Process) -> int:
    return sum(peak_bytes(member.pid) for member in (process, *process.children(recursive=True)))
