"""Child processes: work whose memory is measured alone, and programs of this project for the time of a block."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, TypeVar

import psutil

ROOT = Path(__file__).parent.parent
Result = TypeVar("Result")
Show = Callable[[str], None]


@dataclass(frozen=True)
class ProcessResult(Generic[Result]):
    """The return value of the work, its duration in seconds, and the peak memory of its process."""

    result: Result
    seconds: float
    peak_bytes: int


Runner = Callable[..., ProcessResult[Any]]
"""Runs a function. Takes a progress callback, a function that can be pickled, and its other arguments."""


class WorkFailed(RuntimeError):
    """The work raised, or its process died. The message has the traceback or the exit code of the child."""


def run_in_fresh_process(show: Show, work: Callable[..., Result], *arguments: Any) -> ProcessResult[Result]:
    """Run the work in a new interpreter. `show` receives its progress messages. Raises WorkFailed."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work_in_child, args=(sender, work, arguments), daemon=True)
    process.start()
    sender.close()
    try:
        while isinstance(message := receiver.recv(), str):
            show(message)
    except EOFError:
        process.join()
        raise WorkFailed(f"the process of {work.__name__} died with exit code {process.exitcode}") from None
    finally:
        receiver.close()
        process.join(timeout=10)
        process.kill()
    if isinstance(message, WorkFailed):
        raise message
    process_result: ProcessResult[Result] = message
    return process_result


def run_in_this_process(show: Show, work: Callable[..., Result], *arguments: Any) -> ProcessResult[Result]:
    """Run the work in this process. The peak memory includes all earlier work of the process."""
    started = time.perf_counter()
    result = work(show, *arguments)
    return ProcessResult(result, time.perf_counter() - started, peak_bytes())


def _work_in_child(pipe: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        result = run_in_this_process(pipe.send, work, *arguments)
    except BaseException:
        pipe.send(WorkFailed(traceback.format_exc()))
    else:
        pipe.send(result)
    finally:
        pipe.close()


@contextmanager
def run_module(module: str, *arguments: str, environment: Mapping[str, str], **options: Any) -> Iterator[psutil.Popen]:
    """Run `python -m module` for the time of the block, with more variables in its environment and options of Popen."""
    command = [sys.executable, "-m", module, *arguments]
    process = psutil.Popen(command, cwd=ROOT, env={**os.environ, **environment}, text=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


def wait_until(condition: Callable[[], object], seconds: float, problem: str) -> None:
    """Return when the condition holds. Raises TimeoutError with the problem after that many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(problem)
        time.sleep(0.01)


def cpu_seconds(process: psutil.Process) -> float:
    """User and system CPU seconds of a process and its children."""
    times = [member.cpu_times() for member in (process, *process.children(recursive=True))]
    return float(sum(time.user + time.system for time in times))


def peak_bytes(process_id: int | None = None) -> int:
    """The peak memory of this process, or of another one where `/proc` exists.

    Reads VmHWM where it exists, because the peak in getrusage includes that of the parent process.
    """
    try:
        lines = Path(f"/proc/{process_id or 'self'}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        if process_id is not None:
            raise
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
