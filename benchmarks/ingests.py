"""One whole ingest: the flow's step functions in order, without Prefect's engine around them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeVar

from benchmarks.processes import Show, peak_bytes
from benchmarks.source import land_batch
from core.endpoints import ENDPOINTS, LISTEN_HISTORY, Endpoint
from core.errors import BatchBlocked
from core.settings import Settings
from pipeline.batches import Batch, Counts

Result = TypeVar("Result")

_SMALLEST_RISE = 10 * 2**20


@dataclass(frozen=True)
class IngestMeasurement:
    """Seconds per step for all snapshots together, without imports, and the counts of each batch.

    `peak_rises` are the bytes by which each step raised the peak memory of a fresh process.
    """

    seconds: Mapping[str, float]
    great_expectations_import: float
    counts: Mapping[Endpoint, Counts]
    peak_rises: Mapping[str, int]

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    @property
    def rows(self) -> int:
        return sum(counts.rows_landed for counts in self.counts.values())

    @property
    def sessions(self) -> int:
        return self.counts[LISTEN_HISTORY].rows_landed

    @property
    def memory(self) -> str:
        """The steps that raised the peak, the largest rise first."""
        rises = sorted(self.peak_rises.items(), key=lambda rise: -rise[1])
        return ", ".join(f"{name} {rise / 2**20:,.0f} MB" for name, rise in rises if rise >= _SMALLEST_RISE)

    @property
    def changed_rows(self) -> int:
        return sum(_changed(counts) for counts in self.counts.values())

    @property
    def changed_sessions(self) -> int:
        return _changed(self.counts[LISTEN_HISTORY])


class StepMeter:
    """Adds up the seconds of each step, and the rises of the peak memory by step and detail."""

    def __init__(self, show: Show) -> None:
        self._show = show
        self.seconds: dict[str, float] = {}
        self.peak_rises = {"imports": peak_bytes()}

    def __call__(self, step: str, detail: str, work: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Do the work, and add its time and memory to the step."""
        name = f"{step} {detail}".strip()
        self._show(name)
        peak, started = peak_bytes(), time.perf_counter()
        try:
            return work(*args, **kwargs)
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - started
            self.peak_rises[name] = peak_bytes() - peak


def ingest_day(show: Show, settings: Settings, day: date) -> IngestMeasurement:
    """Land, shape, stage, audit and publish the three snapshots. Raises BatchBlocked."""
    from flows import ingest_tasks as tasks  # imports Prefect, as the flow does: its memory is part of the peak

    started = time.perf_counter()
    import expectations.checkpoint  # noqa: F401

    great_expectations_import = time.perf_counter() - started

    from core.clock import utc_now
    from core.roles import INGEST
    from expectations.thresholds import load_thresholds
    from flows.run import open_run

    meter = StepMeter(show)
    with ExitStack() as stack:
        opening = open_run(settings, load_thresholds(), "ingest", day, utc_now, role=INGEST)
        run = meter("open", "", stack.enter_context, opening)
        for endpoint in ENDPOINTS:
            batch = Batch(endpoint, day, settings.source)
            landed = meter("land", endpoint, land_batch, show, batch, settings)
            shaped = meter("shape", endpoint, tasks.transform_landed_batch, run, batch, landed)
            staged = meter("stage", endpoint, tasks.stage_transformed_batch, run, batch, landed, shaped)
            report = meter("audit", endpoint, tasks.audit_staged_batch, run, batch, staged)
            if report.blocks:
                raise BatchBlocked(batch.batch_id, report.critical_failures, report.results)
            publish = tasks.publish_staged_batch
            run.outcomes.append(meter("publish", endpoint, publish, run, batch, landed, staged, report))
    counts = {outcome.batch.endpoint: outcome.counts for outcome in run.outcomes}
    return IngestMeasurement(meter.seconds, great_expectations_import, counts, meter.peak_rises)


def _changed(counts: Counts) -> int:
    return counts.rows_inserted + counts.rows_updated + counts.rows_removed
