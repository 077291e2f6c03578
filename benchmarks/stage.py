"""Stage: rows a second of the first batch of sessions, against a raw COPY of the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import partial

from benchmarks.context import BenchmarkContext
from benchmarks.figures import Figure, Measurement, PairedRuns, at_least, breakdown, run_in_turns, seconds_of
from benchmarks.processes import Show
from benchmarks.raw_copies import RecordedCopies, drop_raw_copy, raw_copy
from benchmarks.source import BASE_DAY, land_batch
from core.data_layout import DataLayout
from core.database import Connection, connect, migrate
from core.endpoints import LISTEN_HISTORY
from core.settings import Settings
from pipeline import staging, transformation
from pipeline.batches import Batch, Counts, record_batch
from pipeline.transformation import TransformedBatch


@dataclass(frozen=True)
class StagedBytes:
    """The bytes that staging sends, and the seconds of its parts, each run alone."""

    size: int
    parts: Mapping[str, float]


def measure(context: BenchmarkContext) -> Measurement:
    """Stage the sessions that `fetch` landed. Land them first if it did not run."""
    runs, staged = context.run(context.show, compare, context.settings("fetch"), context.rounds).result
    figure = Figure(
        "stage: rows a second, share of a raw COPY",
        runs.share_of_rate,
        at_least(0.7),
        f"{runs.rates('rows')}, {staged.size / 1e6:,.0f} MB",
        breakdown=f"{runs.project:.1f} s; run alone, the raw COPY takes {runs.baseline:.1f} s, "
        + breakdown(staged.parts),
    )
    return Measurement([figure])


def compare(show: Show, settings: Settings, rounds: int) -> tuple[PairedRuns, StagedBytes]:
    """Stage and raw COPY in turns, after one stage that records the bytes."""
    url = settings.database_url.get_secret_value()
    migrate(url)
    batch = Batch(LISTEN_HISTORY, BASE_DAY, settings.source)
    landed = land_batch(show, batch, settings)
    show("shaping")
    latest = datetime.combine(BASE_DAY, time(), UTC) + timedelta(days=2)
    shaped = transformation.transform(
        landed, LISTEN_HISTORY, DataLayout(settings.data_dir).shaped, published=None, latest=latest
    )
    file = settings.data_dir / "staged.csv"
    copies = RecordedCopies(staging.table_names(batch)[0], file)
    with connect(url) as connection:

        def stage() -> int:
            staged = staging.stage_batch(
                connection, batch, shaped, rows_reported=landed.total, dependencies_not_published=0
            )
            return staged.counts.rows_staged

        record_batch(connection, batch, "landed", Counts(), started_at=landed.started_at, run_id=None)
        show("staging, to record the bytes")
        usual_factory = connection.cursor_factory
        connection.cursor_factory = copies.recording_cursor  # type: ignore[assignment]
        rows = stage()
        connection.cursor_factory = usual_factory
        runs = run_in_turns(
            rounds,
            stage,
            lambda: raw_copy(connection, LISTEN_HISTORY, copies.statement, file),
            count=rows,
            show=show,
            prepare=lambda: drop_raw_copy(connection),
        )
        drop_raw_copy(connection)
        parts = _parts(connection, copies.table, shaped)
        staging.drop_tables(connection, batch)
    staging.delete_transformed(shaped.folder)
    return runs, StagedBytes(file.stat().st_size, parts)


def _parts(connection: Connection, table: str, shaped: TransformedBatch) -> dict[str, float]:
    """Seconds of what staging does beside the COPY."""
    reading = writing = 0.0
    for number in range(shaped.buckets):
        reading += seconds_of(partial(shaped.bucket, number))
        rows = shaped.bucket(number)
        writing += seconds_of(partial(rows.write_csv, io.BytesIO(), include_header=False, quote_style="non_numeric"))
    analyze = seconds_of(lambda: connection.execute(f"analyze {table}"))
    return {"reading the shaped rows": reading, "writing CSV": writing, "analyze": analyze}
