"""The days after the first, unchanged or with about one changed session in a hundred, against a bare fetch."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from statistics import median

from benchmarks.context import BenchmarkContext
from benchmarks.figures import Figure, Measurement, PairedRuns, Target, at_most, breakdown
from benchmarks.ingests import IngestMeasurement
from benchmarks.source import BASE_DAY, move_to
from core.database import connect


def measure(context: BenchmarkContext) -> Measurement:
    """Unchanged days, then changed ones, on top of the first ingest."""
    _ = context.first_ingest
    unchanged = _ingest_days(context, 1, moves=False)
    changed = _ingest_days(context, 1 + context.rounds, moves=True)
    if rows := sum(ingest.changed_rows for _, ingest in unchanged):
        raise RuntimeError(f"the mock stood still and {rows:,} rows were published")
    return Measurement(
        [
            _figure("an unchanged day", unchanged, at_most(1.3)),
            _figure("a day with 1 % changes", changed, at_most(1.5)),
        ],
    )


def _ingest_days(context: BenchmarkContext, first: int, *, moves: bool) -> list[tuple[float, IngestMeasurement]]:
    """Seconds of the bare loop and the ingest, for each day."""
    days = []
    for number in range(context.rounds):
        if moves:
            context.show("the mock moves on a day")
            move_to(context.api_url, BASE_DAY + timedelta(days=1 + number))
        fetched = context.bare_fetch_seconds()
        with connect(context.warehouse.database_url.get_secret_value()) as connection:
            connection.execute("analyze")
        ingest = context.ingest(context.warehouse, BASE_DAY + timedelta(days=first + number))
        days.append((fetched, ingest.result))
    return days


def _figure(name: str, days: Sequence[tuple[float, IngestMeasurement]], target: Target) -> Figure:
    ingests = [ingest for _, ingest in days]
    runs = PairedRuns(ingests[0].rows, [(ingest.total, fetched) for fetched, ingest in days])
    share = median(ingest.changed_sessions / ingest.sessions for ingest in ingests)
    changed = median(ingest.changed_rows for ingest in ingests)
    rows = f"{100 * share:.2f} % of the sessions, {changed:,.0f} rows changed"
    return Figure(
        f"{name}: times a bare fetch",
        runs.times_baseline,
        target,
        f"{runs.project:.1f} s against {runs.baseline:.1f} s; {rows}",
        breakdown=breakdown({step: median(ingest.seconds[step] for ingest in ingests) for step in ingests[0].seconds}),
    )
