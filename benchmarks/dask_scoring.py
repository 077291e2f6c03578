"""Scoring on a Dask cluster of this machine against scoring in the process: CPU time, bytes sent, memory."""

from __future__ import annotations

import pickle
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import numpy as np
import psutil

from benchmarks.context import BenchmarkContext
from benchmarks.figures import Figure, Measurement, Table, seconds_of
from benchmarks.processes import Show, cpu_seconds, peak_bytes, run_module
from benchmarks.sample_data import LENGTH, PAIRS_PER_USER, make_plays
from compute.blocks import IN_PROCESS, BlockRunner
from compute.runner import open_block_runner
from core.settings import Settings
from recommender.models.popularity import GenrePopularity
from recommender.models.registry import ChebyshevWithALS
from recommender.publishing.recommendation_lists import USERS_PER_BLOCK, Scorer, recommend_to_all_users, user_blocks

WORKERS = 2
_VERSION = "benchmark"


def measure(context: BenchmarkContext) -> Measurement:
    """Score the same users in the process and on two workers, in turns."""
    return context.measure(compare, context.folder, *context.capped(20_000, 40_000))


def compare(show: Show, folder: Path, users: int, tracks: int, rounds: int) -> Measurement:
    """Measure both sides in turns, after one fit. CPU seconds are those of all processes that take part."""
    show("generating plays")
    plays = make_plays(users, tracks, PAIRS_PER_USER * users)
    show("fitting the Chebyshev filter with ALS")
    model, fallback = ChebyshevWithALS().fit(plays), GenrePopularity().fit(plays)
    state = Scorer(model, fallback, plays.track_ids, np.unique(plays.genres), LENGTH, exclude_seen=True)
    block = user_blocks(plays)[0]
    block_seconds, result = seconds_of(lambda: state.recommend(block), time.thread_time), state.recommend(block)

    def score_in_blocks(runner: BlockRunner) -> None:
        for _ in recommend_to_all_users(model, fallback, plays, LENGTH, exclude_seen=True, runner=runner):
            pass

    with local_cluster(folder) as (settings, processes):

        def cpu_time() -> float:
            return time.process_time() + sum(map(cpu_seconds, processes))

        start_seconds = sum(map(cpu_seconds, processes))
        seconds = []
        with open_block_runner(settings) as runner:
            for number in range(rounds):
                show(f"scoring, {number + 1} of {rounds}")
                whole = seconds_of(lambda: model.fold_in(plays).recommend(plays.user_ids, LENGTH, plays), cpu_time)
                in_process = seconds_of(lambda: score_in_blocks(IN_PROCESS), cpu_time)
                seconds.append((whole, in_process, seconds_of(lambda: score_in_blocks(runner), cpu_time)))
        scheduler_memory, *worker_memory = map(_peak_bytes, processes)
    whole, in_process, cluster = (median(times) for times in zip(*seconds, strict=True))
    sizes = f"{users:,} users x {tracks:,} tracks, Chebyshev filter with ALS, {WORKERS} workers of one thread"
    figures = [
        Figure(
            "scoring on Dask: CPU seconds of flow, scheduler and workers, against the process",
            cluster / in_process,
            f"{cluster:.1f} s against {in_process:.1f} s; {sizes}",
            at_most=1.15,
        ),
        Figure(
            "scoring in blocks: CPU seconds, against one call for all users",
            in_process / whole,
            f"{in_process:.1f} s against {whole:.1f} s; {sizes}",
        ),
    ]
    state_bytes, block_bytes, result_bytes = (len(pickle.dumps(part, protocol=5)) for part in (state, block, result))
    rows = [
        f"bytes to the workers, per user | {block_bytes / len(block.user_ids):,.0f}",
        f"bytes to each worker, once (the model) | {state_bytes:,}",
        f"bytes to the flow, per user ({LENGTH} recommendations) | {result_bytes / len(block.user_ids):,.0f}",
        f"peak memory of the scheduler, MB | {scheduler_memory / 1e6:,.0f}",
        f"peak memory of a worker and its nanny, MB | {max(worker_memory) / 1e6:,.0f}",
        f"CPU seconds to start scheduler and workers | {start_seconds:.1f}",
        f"CPU seconds of a block of {USERS_PER_BLOCK:,} users | {block_seconds:.2f}",
    ]
    return Measurement(figures, [Table("Scoring on Dask", "what | measured", rows, f"{sizes}.")])


@contextmanager
def local_cluster(folder: Path) -> Iterator[tuple[Settings, list[psutil.Popen]]]:
    """A scheduler and two workers of one thread on loopback, with settings for a flow that uses them."""
    with ExitStack() as stack:

        def start(name: str, module: str, *arguments: str, scheduler: str = "") -> tuple[psutil.Popen, str]:
            (folder / name).mkdir(parents=True, exist_ok=True)
            environment = {"DATA_DIR": str(folder / name), "CODE_VERSION": _VERSION, "DASK_SCHEDULER": scheduler}
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            process = stack.enter_context(run_module(module, *arguments, environment=environment, **pipes))
            return process, process.stdout.readline()

        scheduler, line = start("scheduler", "compute.scheduler", "--port", "0")
        address = line.split()[-1]
        workers = [
            start(f"worker-{number}", "compute.worker", "--threads", "1", scheduler=address)[0]
            for number in range(WORKERS)
        ]
        yield Settings(dask_scheduler=address, code_version=_VERSION, data_dir=folder), [scheduler, *workers]


def _peak_bytes(process: psutil.Process) -> int:
    return sum(peak_bytes(member.pid) for member in (process, *process.children(recursive=True)))
