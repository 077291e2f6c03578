"""Publishing: merges an audited batch into the warehouse, the marts and the ledger, in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import Any

from psycopg import sql

from core.database import Connection, readable_errors
from core.endpoints import LISTEN_HISTORY
from core.queries import compose_query, load_query
from pipeline.batches import Batch, Counts, Status, record_batch
from pipeline.daily_marts import fill_daily_marts, update_daily_marts
from pipeline.endpoint_tables import (
    STAGING,
    insert_numbered_rows,
    insert_rows,
    mark_removed_rows,
    update_numbered_rows,
    update_rows,
)
from pipeline.published_snapshots import save_published_snapshot
from pipeline.staging import StagedTables

_WAREHOUSE = ("listen_history", "listen_history_tracks")
_LOADING = ("loading_sessions", "loading_plays")
_ROLES = ("sessions", "plays")


def publish_batch(
    connection: Connection,
    batch: Batch,
    staged: StagedTables,
    *,
    started_at: datetime,
    run_id: int | None,
    clock: Callable[[], datetime],
    reason: str | None = None,
    before_commit: Callable[[], None] | None = None,
) -> tuple[Status, Counts]:
    """Merge a staged batch into the warehouse and the marts, and update the ledger, in one transaction.

    The digests that recognise its rows in the next snapshot are stored in the same transaction.

    `before_commit` is called in the transaction, before its end. `reason` is stored in the ledger, such as why a person
    accepted the batch. The caller holds the warehouse lock. A second call changes nothing. Raises DatabaseError.
    """
    with readable_errors(), connection.transaction():
        merge = _merge_sessions if batch.endpoint == LISTEN_HISTORY else _merge_dimension
        inserted, updated, removed = merge(connection, batch, staged)
        counts = replace(staged.counts, rows_inserted=inserted, rows_updated=updated, rows_removed=removed)
        status: Status = "published" if inserted or updated or removed else "unchanged"
        times = {"started_at": started_at, "finished_at": clock()}
        record_batch(connection, batch, status, counts, run_id=run_id, reason=reason, **times)
        save_published_snapshot(connection, batch.endpoint, batch.batch_id, staged.digests)
        if before_commit is not None:
            before_commit()
    return status, counts


def _merge_dimension(connection: Connection, batch: Batch, staged: StagedTables) -> tuple[int, int, int]:
    parameters = {"batch_id": batch.batch_id, "day": batch.day}
    inserted, updated, removed = (
        connection.execute(statement, parameters).rowcount
        for statement in (
            insert_rows(batch.endpoint, staged.rows_table),
            update_rows(batch.endpoint, staged.rows_table),
            mark_removed_rows(batch.endpoint, staged.removed_table),
        )
    )
    return inserted, updated, removed


def _merge_sessions(connection: Connection, batch: Batch, staged: StagedTables) -> tuple[int, int, int]:
    names = {"staged": (STAGING, staged.rows_table), "removed": (STAGING, staged.removed_table)}
    parameters: dict[str, Any] = {"batch_id": batch.batch_id, "day": batch.day, "last_id": _last_id(connection)}

    def run(name: str) -> int:
        return connection.execute(compose_query(name, **names), parameters).rowcount

    run("warehouse/sessions.create_changed_sessions")
    run("warehouse/sessions.create_removed_sessions")
    connection.execute(load_query("warehouse/sessions.analyze_changes"))
    run("marts/create_changed_plays")
    inserted = _insert_sessions(connection, staged, parameters)
    updated, removed = _change_sessions(connection, batch, parameters)
    if inserted or updated or removed:
        _update_marts(connection, run, staged.rows_table)
    return inserted, updated, removed


def _change_sessions(connection: Connection, batch: Batch, parameters: dict[str, Any]) -> tuple[int, int]:
    """Update and remove published sessions. Returns the numbers of updated and of removed sessions.

    Each statement names one month. For all months together, the planner would read every play to find a few.
    """
    updated = removed = 0
    for (month,) in connection.execute(load_query("warehouse/sessions.find_changed_months")).fetchall():
        sessions, plays = (("warehouse", _partition(table, month)) for table in _WAREHOUSE)
        values = parameters | dict(zip(("start", "stop"), _bounds(month), strict=True))
        update = update_numbered_rows(batch.endpoint, "changed_sessions", sessions)
        remove = compose_query("warehouse/sessions.remove_sessions", sessions=sessions)
        connection.execute(compose_query("warehouse/sessions.delete_changed_plays", plays=plays), values)
        updated += connection.execute(update, values).rowcount
        removed += connection.execute(remove, values).rowcount
    connection.execute(load_query("warehouse/sessions.insert_changed_plays"))
    return updated, removed


def _insert_sessions(connection: Connection, staged: StagedTables, parameters: dict[str, Any]) -> int:
    """Insert the new sessions and their plays. A month without a partition is loaded in bulk.

    Returns the number of sessions.
    """
    query = compose_query("warehouse/months.find_months_of_batch", staged=(STAGING, staged.rows_table))
    has_partition = dict(connection.execute(query).fetchall())
    new_months = [month for month, partitioned in has_partition.items() if not partitioned]
    old_months = [month for month, partitioned in has_partition.items() if partitioned]
    needs_filter = bool(new_months and old_months)
    inserted = 0
    if new_months:
        in_months = {"in_months": new_months if needs_filter else None}
        inserted += _load_new_months(connection, staged, new_months, parameters | in_months)
    if old_months:
        in_months = {"in_months": old_months if needs_filter else None}
        inserted += _insert_into(connection, staged, "warehouse", _WAREHOUSE, parameters | in_months)
    return inserted


def _load_new_months(
    connection: Connection, staged: StagedTables, months: list[date], parameters: dict[str, Any]
) -> int:
    """Load months that have no partition yet. Keys and constraints are added when the tables are filled.

    This is many times faster than checking each row at its insertion. Returns the number of sessions.
    """
    connection.execute(load_query("warehouse/months.create_loading_sessions"))
    connection.execute(load_query("warehouse/months.create_loading_plays"))
    for parent, loading in zip(_WAREHOUSE, _LOADING, strict=True):
        for month in months:
            connection.execute(_month_statement("warehouse/months.create_month", parent, loading, month))
    sessions = _insert_into(connection, staged, STAGING, _LOADING, parameters)
    for parent, loading in zip(_WAREHOUSE, _LOADING, strict=True):
        for month in months:
            connection.execute(_month_statement("warehouse/months.detach_month", parent, loading, month))
            connection.execute(_month_statement("warehouse/months.attach_month", parent, loading, month))
        connection.execute(sql.SQL("drop table {}").format(sql.Identifier(STAGING, loading)))
    for month in months:
        leaves = {name: ("warehouse", _partition(table, month)) for name, table in zip(_ROLES, _WAREHOUSE, strict=True)}
        connection.execute(compose_query("warehouse/months.add_foreign_key", **leaves))
    return sessions


def _insert_into(
    connection: Connection, staged: StagedTables, schema: str, tables: tuple[str, str], parameters: dict[str, Any]
) -> int:
    """Insert the new sessions of the months in `parameters` (null: all) and their plays. Returns their number."""
    source = (STAGING, staged.rows_table)
    sessions, plays = tables
    inserted = connection.execute(
        insert_numbered_rows(LISTEN_HISTORY, staged.rows_table, (schema, sessions)), parameters
    ).rowcount
    connection.execute(
        compose_query("warehouse/sessions.insert_plays", staged=source, target=(schema, plays)), parameters
    )
    return inserted


def _update_marts(connection: Connection, run: Callable[[str], int], staged_table: str) -> None:
    """Add what the batch changes to the marts. In the first load, keys are built after the rows are inserted."""
    row = connection.execute(load_query("marts/first_load.is_first_load")).fetchone()
    if row and row[0]:
        connection.execute(load_query("marts/user_track_plays.drop_primary_key"))
        connection.execute(load_query("marts/first_load.group_by_sorting"))
        run("marts/user_track_plays.insert_new_plays")
        connection.execute(load_query("marts/first_load.reset_grouping"))
        connection.execute(load_query("marts/user_track_plays.add_primary_key"))
        fill_daily_marts(connection, staged_table)
    else:
        run("marts/create_play_changes")
        for change in ("add_plays", "subtract_plays", "delete_unplayed_tracks"):
            run(f"marts/user_track_plays.{change}")
        run("marts/update_play_dates")
        update_daily_marts(connection, staged_table)


def _month_statement(name: str, parent: str, loading: str, month: date) -> sql.Composed:
    start, stop = _bounds(month)
    return compose_query(
        name,
        table=("warehouse", _partition(parent, month)),
        loading=(STAGING, loading),
        parent=("warehouse", parent),
        start=sql.Literal(start),
        stop=sql.Literal(stop),
    )


def _bounds(month: date) -> tuple[datetime, datetime]:
    """Start and end of a calendar month (UTC)."""
    following = date(month.year + month.month // 12, month.month % 12 + 1, 1)
    return datetime.combine(month, time(), UTC), datetime.combine(following, time(), UTC)


def _partition(parent: str, month: date) -> str:
    return f"{parent}_{month:%Y_%m}"


def _last_id(connection: Connection) -> int:
    row = connection.execute(load_query("warehouse/sessions.find_last_session_id")).fetchone()
    return int(row[0]) if row else 0
