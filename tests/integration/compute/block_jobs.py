"""Jobs for tests of the cluster. Workers import this module."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from compute.blocks import BlockJob, BlockRunner
from compute.runner import open_block_runner
from core.errors import ModelError
from core.settings import load_settings


@dataclass
class CountedState:
    """A state that counts, in a folder, how often it was restored."""

    folder: Path
    base: int = 0
    wait_seconds: float = 0.0
    extra: dict[str, Any] = field(default_factory=dict)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        (self.folder / f"restored-{os.getpid()}-{time.monotonic_ns()}").touch()


def add(state: CountedState, block: int) -> tuple[int, int]:
    time.sleep(state.wait_seconds)
    (state.folder / f"block-{block}").touch()
    return state.base + block, os.getpid()


def end_worker(state: CountedState, block: int) -> tuple[int, int]:
    """Block 3 ends its worker, always."""
    if block == 3:
        with (state.folder / "attempts").open("a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    return add(state, block)


def refuse(state: CountedState, block: int) -> tuple[int, int]:
    if block == 2:
        raise ModelError("block 2 has no model")
    return add(state, block)


def refuse_with(state: CountedState, block: int) -> tuple[int, int]:
    if block == 2:
        raise state.extra["error"]
    return add(state, block)


@dataclass
class StoppingState(CountedState):
    """A state that stops the scheduler when it is sent: SIGSTOP to the process of `extra`."""

    def __getstate__(self) -> dict[str, Any]:
        os.kill(self.extra["scheduler"], signal.SIGSTOP)
        return self.__dict__


class EndsWorker:
    """A result that ends its worker when the flow asks for it."""

    def __reduce__(self) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)


def return_poison(state: CountedState, block: int) -> Any:
    return EndsWorker() if block == 3 else add(state, block)


_filled: list[bytearray] = []


def fill_memory(state: CountedState, block: int) -> tuple[int, int]:
    """The first block fills the memory of the worker up to 85 % of `extra`, in bytes."""
    if not _filled:
        _filled.append(bytearray(b"1") * int(state.extra["bytes"] * 0.85 - psutil.Process().memory_info().rss))
    time.sleep(0.3)  # Dask looks at the memory ten times a second
    return add(state, block)


def hang(state: CountedState, block: int) -> tuple[int, int]:
    while block == 1 and not (state.folder / "go on").exists():
        time.sleep(0.05)
    return add(state, block)


CountedJob = BlockJob[CountedState, int, tuple[int, int]]
ADD: CountedJob = BlockJob("add", add)
POISON: CountedJob = BlockJob("add", end_worker)
POISON_ALLOWED: CountedJob = BlockJob("add", end_worker, failure_result=lambda block, why: (-1, 0))
REFUSE: CountedJob = BlockJob("add", refuse)
REFUSE_WITH: CountedJob = BlockJob("add", refuse_with)
POISON_RESULT: CountedJob = BlockJob("add", return_poison)
FILL_MEMORY: CountedJob = BlockJob("add", fill_memory)
HANG: CountedJob = BlockJob("add", hang)
TRIAL: CountedJob = BlockJob("add", add, resource="gpu")


def run_forever(runner: BlockRunner, folder: Path) -> None:
    for _ in runner.run(ADD, CountedState(folder, 0, 0.05), range(10_000)):
        print("a block is done", flush=True)


if __name__ == "__main__":
    from tests.integration.compute import block_jobs

    with open_block_runner(load_settings()) as opened:
        getattr(block_jobs, sys.argv[1])(opened, Path(sys.argv[2]))
