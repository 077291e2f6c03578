"""Audit: Great Expectations over the staged sessions, against one SQL statement that computes the same rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Measured, at_most
from benchmarks.processes import Show
from benchmarks.raw_copies import seconds_of
from benchmarks.source import BASE_DAY
from core.clock import utc_now
from core.endpoints import LISTEN_HISTORY
from core.sessions import open_connection
from core.settings import Settings
from expectations.thresholds import Thresholds, load_thresholds
from pipeline import staging
from pipeline.batches import Batch
from pipeline.endpoint_tables import STAGING

HOW = (
    "`Auditor.audit` of the staged sessions of the first ingest (every rule, results, the page of Data Docs) against"
    " `benchmarks/sql/audit_listen_history.sql`, one statement that counts what breaks each of the same rules; same"
    " settings of the connection, taking turns in one process, the median of the ratios. The fixed part of an audit is"
    " that of an empty batch."
)
# The audit's own, see expectations/checkpoint.py.
_SETTINGS = {"work_mem": "256MB"}
_STATEMENT = (Path(__file__).parent / "sql" / "audit_listen_history.sql").read_text()
_EMPTY = "empty_batch"


@dataclass(frozen=True)
class Turns:
    """Seconds of both sides, turn by turn; and of our side for a batch without rows."""

    rows: int
    seconds: list[tuple[float, float]]
    fixed: float


def measure(bench: Bench) -> Measured:
    """Both ways, taking turns, over what the first ingest staged."""
    _ = bench.first_ingest
    turns = bench.run(bench.show, take_turns, bench.warehouse, bench.rounds).result
    ours, raw = (median(side) for side in zip(*turns.seconds, strict=True))
    figure = Figure(
        name="audit: times one raw SQL statement",
        number=median(audited / queried for audited, queried in turns.seconds),
        unit="",
        target=at_most(3),
        measured=f"{ours:.1f} s against {raw:.1f} s, {turns.rows:,} sessions",
        spent=f"{turns.fixed:.1f} s are Great Expectations' own whatever the size, the rest is one query a rule",
    )
    return Measured(HOW, [figure])


def take_turns(show: Show, settings: Settings, rounds: int) -> Turns:
    """Audit and raw statement, each `rounds` times, after an audit of nothing."""
    from expectations.checkpoint import Auditor, AuditTarget

    url, thresholds = settings.database_url.get_secret_value(), load_thresholds()
    rows_table, profile_table, _ = staging.table_names(Batch(LISTEN_HISTORY, BASE_DAY, settings.source))
    with (
        connected(url) as connection,
        Auditor(
            url=url, thresholds=thresholds, docs_dir=settings.data_dir / "benchmark_docs", clock=utc_now
        ) as auditor,
    ):

        def audit(name: str, table: str) -> float:
            staged = AuditTarget(name, LISTEN_HISTORY, BASE_DAY, table, profile_table)
            return seconds_of(lambda: auditor.audit(staged))

        show("auditing nothing")
        _make_empty_batch(connection, rows_table)
        audit("warm-up", _EMPTY)
        fixed = audit("empty", _EMPTY)
        seconds = []
        for turn in range(rounds):
            show(f"audit, {turn + 1} of {rounds}")
            ours = audit("full", rows_table)
            show(f"raw SQL, {turn + 1} of {rounds}")
            seconds.append((ours, seconds_of(lambda: broken_rows(connection, rows_table, profile_table, thresholds))))
        count = connection.execute(sql.SQL("select count(*) from {}").format(_staged(rows_table))).fetchone()
        connection.execute(sql.SQL("drop table {}").format(_staged(_EMPTY)))
    return Turns(count[0] if count else 0, seconds, fixed)


def connected(url: str) -> psycopg.Connection[Any]:
    """A connection with the settings of the audit's."""
    return open_connection(url, settings=_SETTINGS)


def broken_rows(
    connection: psycopg.Connection[Any], rows_table: str, profile_table: str, thresholds: Thresholds
) -> Mapping[str, int]:
    """How many rows break each rule of the suite, by the name of the rule."""
    query = sql.SQL(_STATEMENT).format(batch=_staged(rows_table), profile=_staged(profile_table))
    row = connection.cursor(row_factory=dict_row).execute(query, thresholds.model_dump()).fetchone()
    if row is None:
        raise RuntimeError("an aggregate without groups has a row")
    return row


def _make_empty_batch(connection: psycopg.Connection[Any], like: str) -> None:
    connection.execute(sql.SQL("drop table if exists {}").format(_staged(_EMPTY)))
    connection.execute(sql.SQL("create unlogged table {} (like {})").format(_staged(_EMPTY), _staged(like)))


def _staged(table: str) -> sql.Identifier:
    return sql.Identifier(STAGING, table)
