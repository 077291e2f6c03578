"""Stage: rows a second of the first batch of listens, against a raw COPY of the same bytes."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import median

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Measured, at_least, shares
from benchmarks.processes import Show
from benchmarks.raw_copies import RecordedCopies, raw_copy_seconds, seconds_of
from benchmarks.source import BASE_DAY
from core.clock import utc_now
from core.data_layout import DataLayout
from core.database import Connection, connect, migrate
from core.endpoints import LISTEN_HISTORY
from core.settings import Settings
from pipeline import landing, staging, transformation
from pipeline.batches import Batch, Counts, record_batch
from pipeline.client import ApiClient
from pipeline.transformation import TransformedBatch

HOW = (
    "`pipeline.staging.stage_batch` of the first batch of sessions (comparing it with what is published, its counts and"
    " statistics included) against one COPY of the very bytes it sent, from a file, into an unlogged table of the same"
    " definition; taking turns in one process, the median of the ratios."
)


@dataclass(frozen=True)
class Turns:
    """Seconds of both sides, turn by turn, for so many rows and bytes; `parts` are pieces of ours, each done alone."""

    rows: int
    size: int
    seconds: list[tuple[float, float]]
    parts: dict[str, float]


def measure(bench: Bench) -> Measured:
    """Both ways, taking turns, on the listens that `fetch` landed; they are landed here if it did not run."""
    turns = bench.run(bench.show, take_turns, bench.settings("fetch"), bench.rounds).result
    ours, raw = (median(side) for side in zip(*turns.seconds, strict=True))
    figure = Figure(
        name="stage: rows a second, share of a raw COPY",
        number=median(copied / staged for staged, copied in turns.seconds),
        unit="",
        target=at_least(0.7),
        measured=f"{turns.rows / ours:,.0f} rows a second against {turns.rows / raw:,.0f}, {turns.size / 1e6:,.0f} MB",
        spent=f"{ours:.1f} s, of which done alone the raw COPY takes {raw:.1f} s, {shares(turns.parts)}",
    )
    return Measured(HOW, [figure])


def take_turns(show: Show, settings: Settings, rounds: int) -> Turns:
    """Stage and raw COPY, each `rounds` times, after one stage that records what is sent."""
    url = settings.database_url.get_secret_value()
    migrate(url)
    batch = Batch(LISTEN_HISTORY, BASE_DAY, settings.source)
    landed = landing.land_snapshot(
        ApiClient(settings),
        batch,
        settings,
        clock=utc_now,
        progress=lambda done, pages: show(f"landing, {done:,} of {pages:,} pages"),
    )
    show("shaping")
    latest = datetime(BASE_DAY.year, BASE_DAY.month, BASE_DAY.day, tzinfo=UTC) + timedelta(days=2)
    folder = DataLayout(settings.data_dir).shaped
    shaped = transformation.transform(landed, LISTEN_HISTORY, folder, published=None, latest=latest)
    copies = RecordedCopies(staging.table_names(batch)[0], settings.data_dir / "staged.csv")
    with connect(url) as connection:
        record_batch(connection, batch, "landed", Counts(), started_at=landed.started_at, run_id=None)
        show("staging, to record what is sent")
        usual = connection.cursor_factory
        connection.cursor_factory = copies.cursor_of  # type: ignore[assignment]
        rows = _stage(connection, batch, shaped, landed.total)
        connection.cursor_factory = usual
        seconds = []
        for turn in range(rounds):
            show(f"staging, {turn + 1} of {rounds}")
            ours = seconds_of(lambda: _stage(connection, batch, shaped, landed.total))
            show(f"raw COPY, {turn + 1} of {rounds}")
            file = settings.data_dir / "staged.csv"
            seconds.append((ours, raw_copy_seconds(connection, LISTEN_HISTORY, copies.statement, file)))
        parts = _parts(connection, copies.table, shaped)
        staging.drop_tables(connection, batch)
    staging.delete_transformed(shaped.folder)
    return Turns(rows, file.stat().st_size, seconds, parts)


def _stage(connection: Connection, batch: Batch, shaped: TransformedBatch, reported: int) -> int:
    staged = staging.stage_batch(connection, batch, shaped, rows_reported=reported, dependencies_not_published=0)
    return staged.counts.rows_staged


def _parts(connection: Connection, table: str, shaped: TransformedBatch) -> dict[str, float]:
    """Seconds of what staging does beside the COPY."""
    reading = writing = 0.0
    for number in range(shaped.buckets):
        began = time.perf_counter()
        rows = shaped.bucket(number)
        reading += time.perf_counter() - began
        writing += seconds_of(partial(rows.write_csv, io.BytesIO(), include_header=False, quote_style="non_numeric"))
    analyze = seconds_of(lambda: connection.execute(f"analyze {table}"))
    return {"reading the shaped rows": reading, "writing CSV": writing, "analyze": analyze}
