"""The whole first ingest, against a bare fetch and a raw COPY; and the most memory it ever holds."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Measured, Table, at_most, shares
from benchmarks.processes import Show
from benchmarks.raw_copies import raw_copy_seconds, unload
from benchmarks.source import BASE_DAY
from core.database import connect
from core.endpoints import ENDPOINTS
from core.settings import Settings
from pipeline.batches import Batch

HOW = (
    "Land, shape, stage, audit and publish the three lists into an empty database in a fresh process, with the flow's"
    " own step functions, migrations included; against the bare loop and one COPY of the staged rows of each list."
    " The import of Great Expectations is not part of it and stands in a line of its own. The peak of the process is"
    " the kernel's mark, with Prefect and Great Expectations loaded."
)


def measure(bench: Bench) -> Measured:
    """The bare fetch, the ingest, the raw COPY."""
    fetched = bench.bare_fetch_seconds()
    first = bench.first_ingest
    copied = bench.run(bench.show, raw_copies, bench.warehouse).result
    ingest = first.result
    figures = [
        Figure(
            name="first ingest: times a bare fetch and a raw COPY",
            number=ingest.total / (fetched + copied),
            unit="",
            target=at_most(3),
            measured=f"{ingest.total:.1f} s against {fetched:.1f} s + {copied:.1f} s, {ingest.rows:,} rows",
            spent=shares(ingest.seconds),
        ),
        Figure(
            name="first ingest: peak memory of the process",
            number=first.peak_bytes / 2**20,
            unit="MB",
            target=at_most(1024),
            measured=f"{ingest.sessions:,} sessions; {ingest.memory}",
            spent=ingest.memory,
        ),
        Figure(
            name="import of Great Expectations, once a process",
            number=ingest.great_expectations_import,
            unit="s",
            target=None,
            measured="not part of the times above and below, Prefect having been imported before",
        ),
    ]
    rows = [[step, f"{spent:.1f} s", f"{100 * spent / ingest.total:.0f} %"] for step, spent in ingest.seconds.items()]
    rows.append(["all", f"{ingest.total:.1f} s", "100 %"])
    return Measured(HOW, figures, [Table("The first ingest, step by step", ("step", "time", "share"), rows)])


def raw_copies(show: Show, settings: Settings) -> float:
    """Seconds of a raw COPY of what the first ingest staged, all lists together."""
    seconds = 0.0
    with connect(settings.database_url.get_secret_value()) as connection:
        for endpoint in ENDPOINTS:
            show(f"raw COPY of {endpoint}")
            file = settings.data_dir / f"{endpoint}.csv"
            statement = unload(connection, Batch(endpoint, BASE_DAY, settings.source).table, file)
            seconds += raw_copy_seconds(connection, endpoint, statement, file)
            file.unlink()
    return seconds
