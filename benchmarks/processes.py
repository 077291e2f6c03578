"""Runs work in a fresh child process, so that its peak memory is measured alone and no cache is warm."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, TypeVar

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


def _work_in_child(pipe: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        result = run_in_this_process(pipe.send, work, *arguments)
    except BaseException:
        pipe.send(WorkFailed(traceback.format_exc()))
    else:
        pipe.send(result)
    finally:
        pipe.close()
