"""Publishing: an audited batch becomes visible in one transaction, marts and ledger with it, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from psycopg import sql

from core.columns import LISTEN_HISTORY
from core.database import Connection, composed, readable_errors, statement
from pipeline.batches import Batch, Counts, Status, record
from pipeline.staging import SCHEMA, Staged

_PARENTS = {"listen_history": "loading_sessions", "listen_history_tracks": "loading_plays"}


def publish(
    connection: Connection, batch: Batch, staged: Staged, *, started_at: datetime, clock: Callable[[], datetime]
) -> tuple[Status, Counts]:
    """Merge a staged batch into the warehouse and the marts, and write it down, in one transaction.

    The caller holds the ingest lock. Running it again for the same batch changes nothing. Raises DatabaseError.
    """
    with readable_errors(), connection.transaction():
        merge = _merge_sessions if batch.endpoint == LISTEN_HISTORY else _merge_dimension
        inserted, updated, removed = merge(connection, batch, staged)
        counts = replace(staged.counts, rows_inserted=inserted, rows_updated=updated, rows_removed=removed)
        status: Status = "published" if inserted or updated or removed else "unchanged"
        record(connection, batch, status, counts, started_at=started_at, finished_at=clock())
    return status, counts


def _merge_dimension(connection: Connection, batch: Batch, staged: Staged) -> tuple[int, int, int]:
    parameters = {"batch_id": batch.batch_id, "day": batch.day}
    names = {"staged": (SCHEMA, staged.rows_table), "removed": (SCHEMA, staged.removed_table)}
    inserted, updated, removed = (
        connection.execute(composed(f"warehouse/{step}_{batch.endpoint}", **names), parameters).rowcount
        for step in ("insert", "update", "remove")
    )
    return inserted, updated, removed


def _merge_sessions(connection: Connection, batch: Batch, staged: Staged) -> tuple[int, int, int]:
    names = {"staged": (SCHEMA, staged.rows_table), "removed": (SCHEMA, staged.removed_table)}
    parameters: dict[str, Any] = {"batch_id": batch.batch_id, "day": batch.day, "last_id": _last_id(connection)}

    def run(name: str) -> int:
        return connection.execute(composed(name, **names), parameters).rowcount

    run("warehouse/changed_sessions")
    run("marts/stale_pairs")
    inserted = _load_new_months(connection, staged, parameters) + _insert(connection, staged, parameters)
    run("warehouse/delete_changed_plays")
    updated = run("warehouse/update_sessions")
    run("warehouse/insert_changed_plays")
    removed = run("warehouse/remove_sessions")
    run("marts/add_new_plays")
    run("marts/forget_stale_pairs")
    run("marts/count_stale_pairs")
    return inserted, updated, removed


def _load_new_months(connection: Connection, staged: Staged, parameters: dict[str, Any]) -> int:
    """Load the months that have no partition yet: bare tables first, keys and constraints when they are full.

    Adding them to rows that are there is many times faster than checking row by row. Returns the number of sessions.
    """
    months = [row[0] for row in connection.execute(_on_staged("warehouse/months_without_partition", staged))]
    parameters |= {"months": months, "of_these_months": True}
    if not months:
        return 0
    connection.execute(statement("warehouse/create_loading_sessions"))
    connection.execute(statement("warehouse/create_loading_plays"))
    for parent, loading in _PARENTS.items():
        for month in months:
            connection.execute(_month_statement("warehouse/create_month", parent, loading, month))
    sessions = connection.execute(
        composed("warehouse/insert_sessions", staged=(SCHEMA, staged.rows_table), target=(SCHEMA, "loading_sessions")),
        parameters,
    ).rowcount
    connection.execute(
        composed("warehouse/insert_plays", staged=(SCHEMA, staged.rows_table), target=(SCHEMA, "loading_plays")),
        parameters,
    )
    for parent, loading in _PARENTS.items():
        for month in months:
            connection.execute(_month_statement("warehouse/detach_month", parent, loading, month))
            connection.execute(_month_statement("warehouse/attach_month", parent, loading, month))
        connection.execute(sql.SQL("drop table {}").format(sql.Identifier(SCHEMA, loading)))
    return sessions


def _insert(connection: Connection, staged: Staged, parameters: dict[str, Any]) -> int:
    """Insert the new sessions of months that have a partition, through its constraints."""
    others = parameters | {"of_these_months": False}
    source = (SCHEMA, staged.rows_table)
    sessions = connection.execute(
        composed("warehouse/insert_sessions", staged=source, target=("warehouse", "listen_history")), others
    ).rowcount
    connection.execute(
        composed("warehouse/insert_plays", staged=source, target=("warehouse", "listen_history_tracks")), others
    )
    return sessions


def _month_statement(name: str, parent: str, loading: str, month: date) -> sql.Composed:
    following = date(month.year + month.month // 12, month.month % 12 + 1, 1)
    return sql.SQL(statement(name)).format(  # type: ignore[arg-type]
        table=sql.Identifier("warehouse", f"{parent}_{month:%Y_%m}"),
        loading=sql.Identifier(SCHEMA, loading),
        parent=sql.Identifier("warehouse", parent),
        start=sql.Literal(f"{month} 00:00:00+00"),
        stop=sql.Literal(f"{following} 00:00:00+00"),
    )


def _on_staged(name: str, staged: Staged) -> sql.Composed:
    return composed(name, staged=(SCHEMA, staged.rows_table))


def _last_id(connection: Connection) -> int:
    row = connection.execute(statement("warehouse/last_session_id")).fetchone()
    return int(row[0]) if row else 0
