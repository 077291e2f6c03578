"""Records the cost of each task in `ops.task_runs`: wall time, CPU time and peak memory."""

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
from flows.auditors import cpu_seconds_of_process
from flows.run import Run
from pipeline.batches import Batch
from recommender.publishing.publication import Publication

_SECONDS_BETWEEN_SAMPLES = 0.05
_KB_A_MB = 1024
_STATUS = Path("/proc/self/status")

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def measured(
    step: Callable[Concatenate[Run, Arguments], Result],
) -> Callable[Concatenate[Run, Arguments], Result]:
    """Record the cost of each call of a step, with the name of the function and the batch among its arguments.

    Place it between `@task` and `@named_errors()`. It does not change results or errors.
    """
    return measured_as(step.__name__)(step)


def measured_as(
    task: str,
) -> Callable[[Callable[Concatenate[Run, Arguments], Result]], Callable[Concatenate[Run, Arguments], Result]]:
    """Like `measured`, with the name that `ops.task_runs` and lineage events have for the step."""

    def decorate(
        step: Callable[Concatenate[Run, Arguments], Result],
    ) -> Callable[Concatenate[Run, Arguments], Result]:
        @wraps(step)
        def measured_step(run: Run, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            with measuring(run, task, _batch_id(args, kwargs)) as task_outcome:
                result = step(run, *args, **kwargs)
                task_outcome.result = result
                task_outcome.succeeded = not (isinstance(result, AuditReport) and result.blocks)
                return result

        return measured_step

    return decorate


@dataclass
class TaskOutcome:
    """Whether a task succeeded, and its result for lineage. An audit that blocks its batch did not succeed."""

    succeeded: bool = True
    result: object = None


@contextmanager
def measuring(run: Run, task: str, batch_id: str = "") -> Iterator[TaskOutcome]:
    """Record the cost of the block, also if it fails. Does nothing if the database is unavailable.

    CPU seconds (user and system) include all threads of this process, child processes that ended meanwhile, and audits
    of another process, but not Postgres. Memory is that of this process.
    """
    started_at, started, cpu = run.clock(), time.perf_counter(), _cpu_seconds()
    memory = _Memory()
    outcome = TaskOutcome()
    error: BaseException | None = None
    try:
        yield outcome
    except BaseException as caught:
        outcome.succeeded, error = False, caught
        raise
    finally:
        cost = {
            "run_id": run.run_id,
            "task": task,
            "what": batch_id,
            "started_at": started_at,
            "seconds": time.perf_counter() - started,
            "cpu_seconds": _cpu_seconds() - cpu,
            "peak_memory_mb": memory.peak_mb(),
            "succeeded": outcome.succeeded,
        }
        _record(run, cost)
        if run.lineage is not None:
            run.lineage.record_step(
                task, batch_id, started_at=started_at, ended_at=run.clock(), result=outcome.result, error=error
            )


def _record(run: Run, cost: dict[str, Any]) -> None:
    # Inside an open transaction the row could be rolled back, or break the transaction.
    if run.connection.info.transaction_status == TransactionStatus.IDLE:
        with suppress(DatabaseError), readable_errors():
            run.connection.execute(load_query("ops/runs.insert_task_run"), cost)


def _batch_id(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    batch_ids = (value.batch_id for value in (*args, *kwargs.values()) if isinstance(value, Batch | Publication))
    return next(batch_ids, "")


def _cpu_seconds() -> float:
    usages = [resource.getrusage(processes) for processes in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages) + cpu_seconds_of_process()


class _Memory:
    """Measures the peak resident memory of this process, in MB, from its creation. Needs /proc (Linux).

    The kernel records the highest value of the whole process. If the task raises it, the result is exact. Otherwise it
    is the highest of samples taken every 50 ms. The kernel's value is not reset, because benchmarks read it too.
    """

    def __init__(self) -> None:
        self._peak_before, self._highest_sample = _resident_mb()
        self._is_over = Event()
        sampler = Thread(target=self._sample, name="memory-of-task", daemon=True)
        if self._highest_sample is not None:
            with suppress(RuntimeError):  # without a thread, only the start and the end are sampled
                sampler.start()

    def peak_mb(self) -> float | None:
        """Stop sampling, and return the peak; None without /proc."""
        self._is_over.set()
        peak, current = _resident_mb()
        if self._peak_before is None or self._highest_sample is None or peak is None or current is None:
            return None
        return peak if peak > self._peak_before else max(self._highest_sample, current)

    def _sample(self) -> None:
        while not self._is_over.wait(_SECONDS_BETWEEN_SAMPLES):
            _, current = _resident_mb()
            self._highest_sample = max(self._highest_sample or 0.0, current or 0.0)


def _resident_mb() -> tuple[float | None, float | None]:
    """Return peak and current resident memory of this process; None without /proc."""
    lines = []
    with suppress(OSError):
        lines = _STATUS.read_text().splitlines()
    values = {name: value for name, _, value in (line.partition(":") for line in lines)}
    peak, current = (values.get(name) for name in ("VmHWM", "VmRSS"))
    return int(peak.split()[0]) / _KB_A_MB if peak else None, int(current.split()[0]) / _KB_A_MB if current else None
