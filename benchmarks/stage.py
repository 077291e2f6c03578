"""Stage: rows a second of the first batch of sessions, against a raw COPY of the same rows."""

from __future__ import annotations

import io
from datetime import UTC, datetime, time, timedelta
from functools import partial

from benchmarks.baselines import drop_raw_copy, raw_copy, unload
from benchmarks.context import BenchmarkContext
from benchmarks.figures import Figure, Measurement, PairedRuns, breakdown, run_in_turns, seconds_of
from benchmarks.processes import Show
from benchmarks.source import BASE_DAY, land_batch
from core.data_layout import DataLayout
from core.database import Connection, connect, migrate
from core.endpoints import LISTEN_HISTORY
from core.settings import Settings
from pipeline import staging, transformation
from pipeline.batches import Batch, Counts, record_batch
from pipeline.endpoint_tables import STAGING
from pipeline.transformation import TransformedBatch


def measure(context: BenchmarkContext) -> Measurement:
    """Stage the sessions that `fetch` landed. Land them first if it did not run."""
    runs, size, parts = context.run(context.show, compare, context.settings("fetch"), context.rounds).result
    figure = Figure(
        "stage: rows a second, share of a raw COPY",
        runs.share_of_rate,
        f"{runs.rates('rows')}, {size / 1e6:,.0f} MB",
        at_least=0.7,
        breakdown=f"{runs.project:.1f} s; alone, the raw COPY takes {runs.baseline:.1f} s, {breakdown(parts)}",
    )
    return Measurement([figure])


def compare(show: Show, settings: Settings, rounds: int) -> tuple[PairedRuns, int, dict[str, float]]:
    """Stage and COPY in turns. Also returns the bytes of the COPY, and the seconds of parts of staging, run alone."""
    url = settings.database_url.get_secret_value()
    migrate(url)
    batch = Batch(LISTEN_HISTORY, BASE_DAY, settings.source)
    landed = land_batch(show, batch, settings)
    show("shaping")
    latest = datetime.combine(BASE_DAY, time(), UTC) + timedelta(days=2)
    folder, file = DataLayout(settings.data_dir).shaped, settings.data_dir / "staged.csv"
    shaped = transformation.transform(landed, LISTEN_HISTORY, folder, published=None, latest=latest)
    with connect(url) as connection:
        stage = partial(
            staging.stage_batch, connection, batch, shaped, rows_reported=landed.total, dependencies_not_published=0
        )
        record_batch(connection, batch, "landed", Counts(), started_at=landed.started_at, run_id=None)
        show("staging, to warm up")
        staged = stage()
        unload(connection, staged.rows_table, file)
        runs = run_in_turns(
            rounds,
            stage,
            lambda: raw_copy(connection, LISTEN_HISTORY, file),
            count=staged.counts.rows_staged,
            show=show,
            prepare=lambda: drop_raw_copy(connection),
        )
        drop_raw_copy(connection)
        parts = _parts(connection, f"{STAGING}.{staged.rows_table}", shaped)
        staging.drop_tables(connection, batch)
    staging.delete_transformed(shaped.folder)
    return runs, file.stat().st_size, parts


def _parts(connection: Connection, table: str, shaped: TransformedBatch) -> dict[str, float]:
    """Seconds of what staging does beside the COPY."""
    reading = writing = 0.0
    for number in range(shaped.buckets):
        reading += seconds_of(partial(shaped.bucket, number))
        rows = shaped.bucket(number)
        writing += seconds_of(partial(rows.write_csv, io.BytesIO(), include_header=False, quote_style="non_numeric"))
    analyze = seconds_of(lambda: connection.execute(f"analyze {table}"))
    return {"reading the shaped rows": reading, "writing CSV": writing, "analyze": analyze}
