"""Work in a fresh child process, so that its peak memory is its own and nothing is warm that would not be."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")
Show = Callable[[str], None]


@dataclass(frozen=True)
class Ran(Generic[Result]):
    """What the work returned, and the most memory its process ever held."""

    result: Result
    peak_bytes: int


class Runner(Protocol):
    """Runs a module's function with a way to show progress and picklable arguments."""

    def __call__(
        self,
        show: Show,
        work: Callable[Concatenate[Show, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Ran[Result]: ...


class WorkFailed(RuntimeError):
    """The work raised, or its process died; carries the traceback of the child."""


@dataclass(frozen=True)
class _Failure:
    text: str


def in_fresh_process(
    show: Show,
    work: Callable[Concatenate[Show, Arguments], Result],
    *args: Arguments.args,
    **kwargs: Arguments.kwargs,
) -> Ran[Result]:
    """Run the work in a new interpreter. Raises WorkFailed."""
    spawning = multiprocessing.get_context("spawn")
    ours, theirs = spawning.Pipe(duplex=False)
    process = spawning.Process(target=_work, args=(theirs, work, args, kwargs), daemon=True)
    process.start()
    theirs.close()
    try:
        while isinstance(message := ours.recv(), str):
            show(message)
    except EOFError:
        process.join()
        raise WorkFailed(f"the process of {work.__name__} died with exit code {process.exitcode}") from None
    finally:
        ours.close()
        process.join(timeout=10)
        process.kill()
    if isinstance(message, _Failure):
        raise WorkFailed(message.text)
    if not isinstance(message, Ran):
        raise TypeError(f"the process sent a {type(message).__name__}")
    return message


def peak_bytes() -> int:
    """The most memory this process ever held.

    The kernel's own mark where there is one: getrusage's is inherited from the parent when a program is started.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def _work(pipe: Connection, work: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    try:
        result = work(pipe.send, *args, **kwargs)
    except BaseException:
        pipe.send(_Failure(traceback.format_exc()))
    else:
        pipe.send(Ran(result, peak_bytes()))
    finally:
        pipe.close()
