"""The whole first ingest, against a bare fetch and a raw COPY, and its peak memory."""

from __future__ import annotations

from functools import partial

from benchmarks.context import BenchmarkContext
from benchmarks.figures import Figure, Measurement, Table, at_most, breakdown, seconds_of
from benchmarks.processes import Show
from benchmarks.raw_copies import drop_raw_copy, raw_copy, unload
from benchmarks.source import BASE_DAY
from core.database import connect
from core.endpoints import ENDPOINTS
from core.settings import Settings
from pipeline.batches import Batch


def measure(context: BenchmarkContext) -> Measurement:
    """Bare fetch, ingest, raw COPY."""
    fetched = context.bare_fetch_seconds()
    process = context.first_ingest
    copied = context.run(context.show, raw_copy_seconds, context.warehouse).result
    ingest = process.result
    figures = [
        Figure(
            "first ingest: times a bare fetch and a raw COPY",
            ingest.total / (fetched + copied),
            at_most(3),
            f"{ingest.total:.1f} s against {fetched:.1f} s + {copied:.1f} s, {ingest.rows:,} rows",
            breakdown=breakdown(ingest.seconds),
        ),
        Figure(
            "first ingest: peak memory of the process",
            process.peak_bytes / 2**20,
            at_most(1024),
            f"{ingest.sessions:,} sessions; {ingest.memory}",
            unit="MB",
            breakdown=ingest.memory,
        ),
        Figure(
            "import of Great Expectations, once a process",
            ingest.great_expectations_import,
            None,
            "after the import of Prefect",
            unit="s",
        ),
    ]
    rows = [[step, f"{part:.1f} s", f"{100 * part / ingest.total:.0f} %"] for step, part in ingest.seconds.items()]
    rows.append(["all", f"{ingest.total:.1f} s", "100 %"])
    return Measurement(figures, [Table("First ingest, by step", ("step", "time", "share"), rows)])


def raw_copy_seconds(show: Show, settings: Settings) -> float:
    """Seconds of a raw COPY of everything that the first ingest staged."""
    seconds = 0.0
    with connect(settings.database_url.get_secret_value()) as connection:
        for endpoint in ENDPOINTS:
            show(f"raw COPY of {endpoint}")
            file = settings.data_dir / f"{endpoint}.csv"
            statement = unload(connection, Batch(endpoint, BASE_DAY, settings.source).table, file)
            seconds += seconds_of(partial(raw_copy, connection, endpoint, statement, file))
            drop_raw_copy(connection)
            file.unlink()
    return seconds
