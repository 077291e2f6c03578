"""Measure whole ingests: the first one, those of the next days, and first ingests of data sets of increasing size."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from itertools import pairwise
from statistics import median

from benchmarks.context import BenchmarkContext, url_of
from benchmarks.figures import NOISE, Figure, Measurement, PairedRuns, Table, breakdown, seconds_of
from benchmarks.ingests import IngestMeasurement
from benchmarks.processes import ProcessResult, Show
from benchmarks.source import BASE_DAY, drop_raw_copy, move_to, raw_copy, unload
from core.database import connect
from core.endpoints import ENDPOINTS
from core.settings import Settings
from pipeline.batches import Batch


def measure_first(context: BenchmarkContext) -> Measurement:
    """Compare the first ingest with a bare fetch and a raw COPY, and report its peak memory."""
    fetch_seconds = context.bare_fetch_seconds()
    process = context.first_ingest
    copy_seconds = context.run(raw_copy_seconds, context.warehouse).result
    ingest = process.result
    figures = [
        Figure(
            "first ingest: times a bare fetch and a raw COPY",
            ingest.total / (fetch_seconds + copy_seconds),
            f"{ingest.total:.1f} s against {fetch_seconds:.1f} s + {copy_seconds:.1f} s, {ingest.rows:,} rows",
            at_most=2,
            breakdown=breakdown(ingest.seconds),
        ),
        Figure(
            "first ingest: peak memory of the process",
            process.peak_bytes / 2**20,
            f"{ingest.sessions:,} sessions; {ingest.memory}",
            unit="MB",
            at_most=500,
            breakdown=ingest.memory,
        ),
        Figure(
            "import of Great Expectations, once per process",
            ingest.great_expectations_import,
            "after the import of Prefect",
            unit="s",
        ),
    ]
    rows = [f"{step} | {part:.1f} s | {100 * part / ingest.total:.0f} %" for step, part in ingest.seconds.items()]
    rows.append(f"all | {ingest.total:.1f} s | 100 %")
    return Measurement(figures, [Table("First ingest, by step", "step | time | share", rows)])


def raw_copy_seconds(show: Show, settings: Settings) -> float:
    """Return the seconds of a raw COPY of all rows that the first ingest staged."""
    seconds = 0.0
    with connect(url_of(settings)) as connection:
        for endpoint in ENDPOINTS:
            show(f"raw COPY of {endpoint}")
            file = settings.data_dir / f"{endpoint}.csv"
            unload(connection, Batch(endpoint, BASE_DAY, settings.source).table, file)
            seconds += seconds_of(partial(raw_copy, connection, endpoint, file))
            drop_raw_copy(connection)
            file.unlink()
    return seconds


def measure_next_days(context: BenchmarkContext) -> Measurement:
    """Compare ingests with a bare fetch: first of unchanged days, then of days with about 1 % changed sessions."""
    _ = context.first_ingest  # runs it, if no other measurement did: the next days need its database
    unchanged = _ingest_days(context, 1, mock_advances=False)
    changed = _ingest_days(context, 1 + context.rounds, mock_advances=True)
    if rows := sum(ingest.changed_rows for _, ingest in unchanged):
        raise RuntimeError(f"the rows of the mock did not change, but {rows:,} rows were published")
    return Measurement(
        [_day_figure("an unchanged day", unchanged, 1.1), _day_figure("a day with 1 % changes", changed, 1.5)]
    )


def _ingest_days(
    context: BenchmarkContext, first: int, *, mock_advances: bool
) -> list[tuple[float, IngestMeasurement]]:
    """Return the seconds of the bare fetch and the ingest of each day, from `first` days after the base day on."""
    days = []
    for number in range(context.rounds):
        if mock_advances:
            context.show("the mock moves on a day")
            move_to(context.ensure_mock_api(), BASE_DAY + timedelta(days=1 + number))
        fetch_seconds = context.bare_fetch_seconds()
        with connect(url_of(context.warehouse)) as connection:
            connection.execute("analyze")
        days.append((fetch_seconds, context.ingest(context.warehouse, BASE_DAY + timedelta(first + number)).result))
    return days


def _day_figure(name: str, days: Sequence[tuple[float, IngestMeasurement]], at_most: float) -> Figure:
    ingests = [ingest for _, ingest in days]
    runs = PairedRuns(ingests[0].rows, [(ingest.total, fetch_seconds) for fetch_seconds, ingest in days])
    changed_share = median(ingest.changed_sessions / ingest.sessions for ingest in ingests)
    changed_rows = median(ingest.changed_rows for ingest in ingests)
    changes = f"; {100 * changed_share:.2f} % of the sessions, {changed_rows:,.0f} rows changed"
    parts = {step: median(ingest.seconds[step] for ingest in ingests) for step in ingests[0].seconds}
    return runs.times_figure(f"{name}: times a bare fetch", changes, at_most=at_most, breakdown=breakdown(parts))


def measure_growth(context: BenchmarkContext) -> Measurement:
    """Measure one first ingest per size, the smallest first. For the main data set, reuse the measured first ingest."""
    points = [
        context.first_ingest
        if sessions == context.sizes.sessions
        else context.first_ingest_of(context.sizes.with_sessions(sessions))
        for sessions in context.growth
    ]
    return Measurement(_growth_figures(context, points), [_growth_table(points)], points)


def describe_growth(points: Sequence[ProcessResult[IngestMeasurement]]) -> str:
    """Say in one sentence whether time and memory per session rise."""
    times = [point.result.total / point.result.sessions for point in points]
    memory = [point.peak_bytes / point.result.sessions for point in points]
    parts = [
        f"{name} per session {'rises' if any(b > a * NOISE for a, b in pairwise(values)) else 'does not rise'}"
        for name, values in (("time", times), ("memory", memory))
    ]
    return f"From {points[0].result.sessions:,} to {points[-1].result.sessions:,} sessions, {' and '.join(parts)}."


def _growth_figures(context: BenchmarkContext, points: Sequence[ProcessResult[IngestMeasurement]]) -> list[Figure]:
    if len(points) < 2:
        return []
    small, large = points[-2:]
    has_target = large.result.sessions == 10 * small.result.sessions and small.result.sessions == context.sizes.sessions
    sizes = f"{large.result.sessions:,} against {small.result.sessions:,} sessions"
    microseconds = [1e6 * point.result.total / point.result.sessions for point in (large, small)]
    memory = f"{large.peak_bytes / 2**20:,.0f} MB against {small.peak_bytes / 2**20:,.0f} MB, {sizes}"
    return [
        Figure(
            "growth: time per session, the largest against the one before",
            microseconds[0] / microseconds[1],
            f"{microseconds[0]:.1f} µs against {microseconds[1]:.1f} µs a session, {sizes}; a tenth is noise",
            at_most=NOISE,
            breakdown=breakdown(large.result.seconds),
        ),
        Figure(
            "growth: peak memory, the largest against the one before",
            large.peak_bytes / small.peak_bytes,
            memory + ("" if has_target else f"; the target is for {10 * context.sizes.sessions:,} (--growth)"),
            at_most=1.2 if has_target else None,
            breakdown=large.result.memory,
        ),
    ]


def _growth_table(points: Sequence[ProcessResult[IngestMeasurement]]) -> Table:
    steps, rows = list(points[0].result.seconds), []
    for ingest, peak in ((point.result, point.peak_bytes) for point in points):
        seconds = " | ".join(f"{ingest.seconds[step]:.1f}" for step in steps)
        rows.append(
            f"{ingest.sessions:,} | {seconds} | {ingest.total:.1f} | {1e6 * ingest.total / ingest.sessions:,.1f}"
            f" | {peak / 2**20:,.0f} | {peak / ingest.sessions:,.0f}"
        )
    header = f"sessions | {' | '.join(steps)} | all (s) | µs a session | peak (MB) | bytes a session"
    return Table("Growth: seconds per step, and memory", header, rows, describe_growth(points))
