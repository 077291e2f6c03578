"""Audit: Great Expectations over the staged sessions, against one SQL statement that checks the same rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from benchmarks.context import BenchmarkContext, url_of
from benchmarks.figures import Measurement, run_in_turns
from benchmarks.processes import Show
from benchmarks.sample_data import read_sql
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


def measure(context: BenchmarkContext) -> Measurement:
    """Compare audit and statement over the sessions of the first ingest."""
    return context.measure(compare, context.warehouse, context.first_ingest.result.sessions)


def compare(show: Show, settings: Settings, sessions: int, rounds: int) -> Measurement:
    """Run audit and statement in turns, after one audit to warm up."""
    from expectations.checkpoint import Auditor

    url, thresholds = url_of(settings), load_thresholds()
    rows_table, profile_table, _ = staging.table_names(Batch(LISTEN_HISTORY, BASE_DAY, settings.source))
    docs = FolderStore(settings.data_dir / "benchmark_docs")
    auditing = Auditor(url=url, thresholds=thresholds, docs=docs, clock=utc_now)
    target = AuditTarget("benchmark", LISTEN_HISTORY, BASE_DAY, rows_table, profile_table)
    with connect_as_audit(url) as connection, auditing as auditor:
        show("auditing, to warm up")
        auditor.audit(target)
        runs = run_in_turns(
            rounds,
            lambda: auditor.audit(target),
            lambda: count_broken_rows(connection, rows_table, profile_table, thresholds),
            count=sessions,
            show=show,
        )
    name, parts = "audit: times one raw SQL statement", "fixed costs of Great Expectations, and one query per rule"
    return Measurement([runs.times_figure(name, f", {sessions:,} sessions", at_most=3, breakdown=parts)])


def connect_as_audit(url: str) -> psycopg.Connection[Any]:
    """Connect with the settings of the audit."""
    return open_connection(url, settings=_CONNECTION_SETTINGS)


def count_broken_rows(
    connection: psycopg.Connection[Any], rows_table: str, profile_table: str, thresholds: Thresholds
) -> Mapping[str, int]:
    """Count the rows that break each rule of the suite. Returns the counts by name of the rule."""
    batch, profile = (sql.Identifier(STAGING, table) for table in (rows_table, profile_table))
    query = sql.SQL(read_sql("audit_listen_history")).format(batch=batch, profile=profile)
    row = connection.cursor(row_factory=dict_row).execute(query, thresholds.model_dump()).fetchone()
    if row is None:
        raise RuntimeError("an aggregate without groups has a row")
    return row
