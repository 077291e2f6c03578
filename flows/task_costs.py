"""What each task of a run costs, written to `ops.task_runs`: wall time, CPU time and peak memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from threading import Event, Thread
from typing import Any, Concatenate, ParamSpec, TypeVar

from psycopg.pq import TransactionStatus

from core.audits import AuditReport
from core.database import readable_errors
from core.errors import DatabaseError
from core.queries import load_query
from flows.run import Run
from pipeline.batches import Batch
from recommender.publishing.publication import Publication

_SECONDS_BETWEEN_LOOKS = 0.05
_KB_A_MB = 1024
_STATUS = Path("/proc/self/status")

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def measured(
    step: Callable[Concatenate[Run, Arguments], Result],
) -> Callable[Concatenate[Run, Arguments], Result]:
    """Write down what each call of a step costs, under its name and the batch or list among its arguments.

    Stands between `@task` and `@named_errors()`. Each call adds a row; what it returns and raises stays as it is.
    """

    @wraps(step)
    def measured_step(run: Run, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with measuring(run, step.__name__, _what(args, kwargs)) as task_outcome:
            result = step(run, *args, **kwargs)
            task_outcome.succeeded = not (isinstance(result, AuditReport) and result.blocks)
            return result

    return measured_step


@dataclass
class TaskOutcome:
    """Whether a task succeeded. An audit that blocks its batch has not."""

    succeeded: bool = True


@contextmanager
def measuring(run: Run, task: str, what: str = "") -> Iterator[TaskOutcome]:
    """Write down what the block costs, also when it fails. Without a database nothing is written, and nothing raised.

    CPU seconds, user and system, are of this process with all its threads, and of children that ended meanwhile; not
    of Postgres. Memory is of this process alone.
    """
    started_at, started, cpu = run.clock(), time.perf_counter(), _cpu_seconds()
    memory = _Memory()
    outcome = TaskOutcome()
    try:
        yield outcome
    except BaseException:
        outcome.succeeded = False
        raise
    finally:
        cost = {
            "run_id": run.run_id,
            "task": task,
            "what": what,
            "started_at": started_at,
            "seconds": time.perf_counter() - started,
            "cpu_seconds": _cpu_seconds() - cpu,
            "peak_memory_mb": memory.peak_mb(),
            "succeeded": outcome.succeeded,
        }
        _write_down(run, cost)


def _write_down(run: Run, cost: dict[str, Any]) -> None:
    # In a transaction of somebody else, the row could go with it, or break it; a dead connection has no status.
    if run.connection.info.transaction_status == TransactionStatus.IDLE:
        with suppress(DatabaseError), readable_errors():
            run.connection.execute(load_query("ops/runs.insert_task_run"), cost)


def _what(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    worked_on = (one.batch_id for one in (*args, *kwargs.values()) if isinstance(one, Batch | Publication))
    return next(worked_on, "")


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


class _Memory:
    """The most memory of this process that was resident, in MB, since this was made; None without /proc (no Linux).

    Exact when it is more than the process ever held before: the kernel keeps that mark. Otherwise the most that was
    seen in looks 50 ms apart. The mark is not reset for a task: whoever measures the whole process reads it too.
    """

    def __init__(self) -> None:
        self._before, self._seen = _resident_mb()
        self._over = Event()
        self._looks = Thread(target=self._look, name="memory-of-task", daemon=True)
        if self._seen is not None:
            with suppress(RuntimeError):  # no thread to be had: then it is looked at the beginning and the end only
                self._looks.start()

    def peak_mb(self) -> float | None:
        """What it came to; the looking ends."""
        self._over.set()
        mark, now = _resident_mb()
        if self._before is None or self._seen is None or mark is None or now is None:
            return None
        return mark if mark > self._before else max(self._seen, now)

    def _look(self) -> None:
        while not self._over.wait(_SECONDS_BETWEEN_LOOKS):
            _, now = _resident_mb()
            self._seen = max(self._seen or 0.0, now or 0.0)


def _resident_mb() -> tuple[float | None, float | None]:
    """What the process held at most, and what it holds now; None where the system does not tell."""
    lines = []
    with suppress(OSError):
        lines = _STATUS.read_text().splitlines()
    values = {name: rest for name, _, rest in (line.partition(":") for line in lines)}
    mark, now = (values.get(name) for name in ("VmHWM", "VmRSS"))
    return int(mark.split()[0]) / _KB_A_MB if mark else None, int(now.split()[0]) / _KB_A_MB if now else None
