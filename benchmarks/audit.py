"""Audit: Great Expectations over the staged sessions, against one SQL statement that checks the same rules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from benchmarks.context import BenchmarkContext
from benchmarks.figures import Figure, Measurement, PairedRuns, run_in_turns
from benchmarks.processes import Show
from benchmarks.source import BASE_DAY
from core.audits import AuditTarget
from core.clock import utc_now
from core.endpoints import LISTEN_HISTORY
from core.file_store import FolderStore
from core.sessions import open_connection
from core.settings import Settings
from expectations.thresholds import Thresholds, load_thresholds
from pipeline import staging
from pipeline.batches import Batch
from pipeline.endpoint_tables import STAGING

# The settings of the audit (expectations/checkpoint.py).
_CONNECTION_SETTINGS = {"work_mem": "256MB"}
_STATEMENT = (Path(__file__).parent / "sql" / "audit_listen_history.sql").read_text()


def measure(context: BenchmarkContext) -> Measurement:
    """Compare audit and statement over the sessions of the first ingest."""
    _ = context.first_ingest
    runs = context.run(context.show, compare, context.warehouse, context.rounds).result
    figure = Figure(
        "audit: times one raw SQL statement",
        runs.times_baseline,
        f"{runs.project:.1f} s against {runs.baseline:.1f} s, {runs.count:,} sessions",
        at_most=3,
        breakdown="fixed costs of Great Expectations, and one query per rule",
    )
    return Measurement([figure])


def compare(show: Show, settings: Settings, rounds: int) -> PairedRuns:
    """Run audit and statement in turns, after one audit to warm up."""
    from expectations.checkpoint import Auditor

    url, thresholds = settings.database_url.get_secret_value(), load_thresholds()
    rows_table, profile_table, _ = staging.table_names(Batch(LISTEN_HISTORY, BASE_DAY, settings.source))
    docs = settings.data_dir / "benchmark_docs"
    auditing = Auditor(url=url, thresholds=thresholds, docs=FolderStore(docs), clock=utc_now)
    with connect_as_audit(url) as connection, auditing as auditor:

        def audit() -> None:
            auditor.audit(AuditTarget("benchmark", LISTEN_HISTORY, BASE_DAY, rows_table, profile_table))

        show("auditing, to warm up")
        audit()
        row = connection.execute(sql.SQL("select count(*) from {}").format(_staged(rows_table))).fetchone()
        return run_in_turns(
            rounds,
            audit,
            lambda: count_broken_rows(connection, rows_table, profile_table, thresholds),
            count=row[0] if row else 0,
            show=show,
        )


def connect_as_audit(url: str) -> psycopg.Connection[Any]:
    """Connect with the settings of the audit."""
    return open_connection(url, settings=_CONNECTION_SETTINGS)


def count_broken_rows(
    connection: psycopg.Connection[Any], rows_table: str, profile_table: str, thresholds: Thresholds
) -> Mapping[str, int]:
    """Count the rows that break each rule of the suite. Returns the counts by name of the rule."""
    query = sql.SQL(_STATEMENT).format(batch=_staged(rows_table), profile=_staged(profile_table))
    row = connection.cursor(row_factory=dict_row).execute(query, thresholds.model_dump()).fetchone()
    if row is None:
        raise RuntimeError("an aggregate without groups has a row")
    return row


def _staged(table: str) -> sql.Identifier:
    return sql.Identifier(STAGING, table)
