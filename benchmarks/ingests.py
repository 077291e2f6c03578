"""One whole ingest as the flow does it: its steps in order, without Prefect's engine around them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from typing import ParamSpec, TypeVar

from benchmarks.processes import Show, peak_bytes
from core.endpoints import ENDPOINTS, LISTEN_HISTORY, Endpoint
from core.errors import BatchBlocked
from core.settings import Settings
from pipeline.batches import Batch, Counts

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_WORTH_TELLING = 10 * 2**20


@dataclass(frozen=True)
class Ingest:
    """What an ingest took. `seconds` per step, all lists together; the imports are not among them.

    `peak_rises` are bytes by which the peak of the process rose, by what it was doing, in a process of its own.
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
        """Where the peak comes from, the largest rise first."""
        rises = sorted(self.peak_rises.items(), key=lambda rise: -rise[1])
        return ", ".join(f"{name} {rise / 2**20:,.0f} MB" for name, rise in rises if rise >= _WORTH_TELLING)

    @property
    def changed_rows(self) -> int:
        return sum(_changed(counts) for counts in self.counts.values())

    @property
    def changed_sessions(self) -> int:
        return _changed(self.counts[LISTEN_HISTORY])


class StepMeter:
    """Adds up seconds by step, and by how much the peak of the process rose, by step and list."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.peak_rises = {"imports": peak_bytes()}

    def measure(
        self, step: str, of: str, work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """Do the work and add what it took to the step."""
        before, began = peak_bytes(), time.perf_counter()
        try:
            return work(*args, **kwargs)
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - began
            self.peak_rises[f"{step} {of}".strip()] = peak_bytes() - before


def ingest_day(show: Show, settings: Settings, day: date) -> Ingest:
    """Land, shape, stage, audit and publish the three lists. Raises BatchBlocked: a benchmark's data is good."""
    from flows import ingest_tasks  # imports Prefect, as a run of the flow does: its memory is part of the peak

    before = time.perf_counter()
    import expectations.checkpoint  # noqa: F401

    imported = time.perf_counter() - before

    from core.clock import utc_now
    from core.roles import INGEST
    from expectations.thresholds import load_thresholds
    from flows.run import open_run
    from pipeline import landing
    from pipeline.client import ApiClient

    meter = StepMeter()
    with ExitStack() as stack:
        opening = open_run(settings, load_thresholds(), "ingest", day, utc_now, role=INGEST)
        run = meter.measure("open", "", stack.enter_context, opening)
        for endpoint in ENDPOINTS:
            batch = Batch(endpoint, day, settings.source)

            def progress(done: int, pages: int, name: str = batch.batch_id) -> None:
                show(f"{name}: landing, {done:,} of {pages:,} pages")

            landed = meter.measure(
                "land",
                endpoint,
                landing.land_snapshot,
                ApiClient(settings),
                batch,
                settings,
                clock=utc_now,
                progress=progress,
            )
            show(f"{batch.batch_id}: shaping")
            shaped = meter.measure("shape", endpoint, ingest_tasks.transform_landed_batch, run, batch, landed)
            show(f"{batch.batch_id}: staging")
            staged = meter.measure("stage", endpoint, ingest_tasks.stage_transformed_batch, run, batch, landed, shaped)
            show(f"{batch.batch_id}: auditing")
            report = meter.measure("audit", endpoint, ingest_tasks.audit_staged_batch, run, batch, staged)
            show(f"{batch.batch_id}: publishing")
            if report.blocks:
                raise BatchBlocked(batch.batch_id, report.critical_failures, report.results)
            outcome = meter.measure(
                "publish", endpoint, ingest_tasks.publish_staged_batch, run, batch, landed, staged, report
            )
            run.outcomes.append(outcome)
    counts = {one.batch.endpoint: one.counts for one in run.outcomes}
    return Ingest(meter.seconds, imported, counts, meter.peak_rises)


def _changed(counts: Counts) -> int:
    return counts.rows_inserted + counts.rows_updated + counts.rows_removed
