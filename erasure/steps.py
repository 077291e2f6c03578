"""Erases a user from the database: every row with their id, and the text of rejected rows that belong to them.

`flows/erase.py` calls the steps in order. `erasure/landed_pages.py` erases raw pages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from psycopg import sql
from psycopg.types.json import Jsonb

from core.database import Connection, readable_errors
from core.endpoints import ENDPOINTS, USERS
from core.errors import DatabaseError, UsageError
from core.queries import compose_query, load_query
from core.roles import refuse_foreign_code
from erasure import suppression_list
from erasure.subject_matching import UserIdentity
from erasure.suppression_list import SuppressionEntry, SuppressionList
from pipeline import daily_marts
from pipeline.decoding import readable_row_id
from pipeline.row_filter import PLACEHOLDER, RowFilter, matches_row

Kind = Literal["erased", "allowed"]
RowCounts = Mapping[str, int]
_LARGEST_ID = 2**63 - 1
_PERSONAL_ENDPOINTS = [endpoint for endpoint, specification in ENDPOINTS.items() if specification.is_personal]


def check_user_id(user_id: int) -> int:
    """Return the id if a user can have it. Raises UsageError."""
    if isinstance(user_id, bool) or not 0 <= user_id <= _LARGEST_ID:
        raise UsageError("USER_ID must be a whole number from 0 to 9223372036854775807")
    return user_id


@readable_errors()
def begin_erasure(
    connection: Connection,
    identity: UserIdentity,
    suppressed: SuppressionList,
    *,
    reason: str,
    requested_by: str,
    now: datetime,
) -> tuple[int, dict[str, int]]:
    """Add the user to the suppression list, and create a record of the erasure, in one transaction.

    Returns the number of the record, and the row counts if an interrupted erasure has recorded them: it continues with
    the same record. Raises DatabaseError.
    """
    entry = suppressed.suppressed_entry(identity.user_id, now, identity.e_mails)
    names = {"key": entry.key, "fingerprint": entry.fingerprint}
    row = connection.execute(load_query("erasure/erasures.find_open_erasure"), names).fetchone()
    if row is not None:
        return row[0], row[1]
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(%s)", [suppression_list.SUPPRESSION_LOCK])
        number = _insert_record(connection, "erased", reason, requested_by, now)
        save_entries(connection, [entry], number)
    return number, {}


@readable_errors()
def allow_user(
    connection: Connection, user_id: int, suppressed: SuppressionList, *, reason: str, requested_by: str, now: datetime
) -> bool:
    """Accept the rows of the user again, from the next snapshot on. Returns whether the user was suppressed."""
    entry = suppressed.entry_of(user_id)
    was_suppressed = entry is not None and entry.allowed_at is None
    with connection.transaction():
        number = _insert_record(connection, "allowed", reason, requested_by, now)
        if entry is not None and was_suppressed:
            save_entries(connection, [replace(entry, allowed_at=now)], number)
        finish_erasure(connection, number, {"ops.suppressed_listeners": int(was_suppressed)}, now)
    return was_suppressed


def save_entries(connection: Connection, entries: Sequence[SuppressionEntry], erasure_id: int | None = None) -> None:
    """Save entries of the suppression list. A newer decision in the database stays."""
    with connection.cursor() as cursor:
        cursor.executemany(
            load_query("erasure/suppression_list.save_suppression"),
            [
                {
                    "key": entry.key,
                    "fingerprint": entry.fingerprint,
                    "e_mails": list(entry.e_mails),
                    "erasure_id": erasure_id,
                    "erased_at": entry.erased_at,
                    "allowed_at": entry.allowed_at,
                }
                for entry in entries
            ],
        )


@readable_errors()
def record_counts(connection: Connection, erasure_id: int, counts: RowCounts) -> None:
    """Record the number of rows to erase, before they are erased."""
    connection.execute(
        load_query("erasure/erasures.record_erased_rows"),
        {"erasure_id": erasure_id, "found": Jsonb(dict(sorted(counts.items())))},
    )


def finish_erasure(connection: Connection, erasure_id: int, counts: RowCounts, now: datetime) -> None:
    """Record the end of an erasure, and its row counts."""
    connection.execute(
        load_query("erasure/erasures.finish_erasure"),
        {"erasure_id": erasure_id, "found": Jsonb(dict(sorted(counts.items()))), "finished_at": now},
    )


@readable_errors()
def identify_user(connection: Connection, user_id: int) -> UserIdentity:
    """The user, with every e-mail address and name that the database has of them.

    Raises DatabaseError if `erase_rows` would fail, so that nothing is erased before that is known.
    """
    tables = [("warehouse", "users")]
    identity = UserIdentity(user_id)
    with connection.transaction():
        _lock_tables(connection)
        tables += [
            (schema, table) for schema, table, column, _ in _tables(connection) if column == "id" and _has_names(table)
        ]
        for table in tables:
            rows = connection.execute(
                compose_query("erasure/user_rows.find_identity", table=table), {"user_id": user_id}
            ).fetchall()
            identity = identity.with_details(rows)
    return identity


@readable_errors()
def erase_rows(
    connection: Connection, identity: UserIdentity, erasure_id: int, now: datetime
) -> tuple[RowCounts, list[Any]]:
    """Delete every row of the user, and finish the record, in one transaction.

    The caller holds the warehouse lock. Returns the counts of erased rows by table, and the tables to vacuum.
    """
    counts: Counter[str] = Counter()
    changed_tables: list[tuple[str, str]] = []
    values = {"user_id": identity.user_id}
    with connection.transaction():
        _lock_tables(connection)
        connection.execute(load_query("erasure/user_rows.lock_user"), values)
        counts["mart.user_days"] = daily_marts.subtract_user(connection, identity.user_id)
        counts["warehouse.listen_history_tracks"] = connection.execute(
            load_query("erasure/user_rows.delete_plays"), values
        ).rowcount
        for schema, table, column, reported_name in _tables(connection):
            names: dict[str, Any] = {"table": (schema, table), "column": column}
            deleted = connection.execute(
                compose_query("erasure/user_rows.delete_rows_of_user", **names), values
            ).rowcount
            counts[reported_name] += deleted
            changed_tables += [(schema, table)] if deleted else []
        counts["warehouse.users"] = connection.execute(load_query("erasure/user_rows.delete_user"), values).rowcount
        counts["ops.quarantined_rows"] = connection.execute(
            load_query("erasure/user_rows.delete_quarantined_rows"), values
        ).rowcount
        counts["ops.rejected_rows"] = _redact_rejected_rows(connection, identity)
        connection.execute(load_query("erasure/user_rows.delete_row_digests"), {"endpoints": _PERSONAL_ENDPOINTS})
        erased = {table: rows for table, rows in counts.items() if rows}
        finish_erasure(connection, erasure_id, erased, now)
    fixed_tables = (
        *("mart.user_days", "warehouse.users", "warehouse.listen_history_tracks"),
        *("ops.quarantined_rows", "ops.rejected_rows"),
    )
    changed_names = (name.partition(".") for name in fixed_tables if counts[name])
    changed_tables += [(schema, table) for schema, _, table in changed_names]
    return erased, changed_tables


@readable_errors()
def vacuum(connection: Connection, tables: Sequence[tuple[str, str]]) -> None:
    """Remove deleted rows from the files of Postgres."""
    for table in tables:
        connection.execute(sql.SQL("vacuum {}").format(sql.Identifier(*table)))


@readable_errors()
def reappeared_user_ids(connection: Connection, suppressed: SuppressionList) -> set[int]:
    """The ids of suppressed users with rows in the database, for example after a restore of an older backup."""
    ids = {row[0] for row in connection.execute(load_query("erasure/user_rows.find_user_ids"))}
    with connection.transaction(), connection.cursor(name="rejected") as rejected:
        rejected.execute(load_query("erasure/user_rows.find_rejected_rows"), {"in_place": PLACEHOLDER})
        row_ids = (readable_row_id(endpoint, raw) for _, endpoint, raw in rejected)
        ids |= {row_id for row_id in row_ids if row_id is not None}
    return suppressed.matching_ids(ids)


@readable_errors()
def redact_rejected_rows(
    connection: Connection,
    suppressed: SuppressionList,
    file_counts: RowCounts,
    *,
    reason: str,
    requested_by: str,
    now: datetime,
) -> RowCounts:
    """Remove the text of rejected rows of suppressed users.

    If rows were erased here or in files, a record is created with all counts. Returns them. Raises DatabaseError.
    """
    with connection.transaction():
        _lock_tables(connection)
        counts = Counter(file_counts) + Counter({"ops.rejected_rows": _redact_rejected_rows(connection, suppressed)})
        if counts:
            finish_erasure(connection, _insert_record(connection, "erased", reason, requested_by, now), counts, now)
    return counts


def merge_into_database(connection: Connection, suppressed: SuppressionList) -> SuppressionList:
    """Merge the suppression list of the copy into the database. Returns the merged list."""
    with readable_errors(), connection.transaction():
        save_entries(connection, suppressed.entries)
    return suppression_list.merge(suppressed, suppression_list.read_database(connection))


def _lock_tables(connection: Connection) -> None:
    """Lock the tables of other roles, and check that no trigger or rule of theirs runs with our rights.

    The erasure changes them as the owner of the schema. Switching to the role first would not help, because code of the
    role could switch back. Raises DatabaseError.
    """
    foreign_tables = connection.execute(load_query("erasure/tables.find_tables_without_rights")).fetchall()
    if foreign_tables:
        table, login = foreign_tables[0]
        suffix = f" (and {len(foreign_tables) - 1} more)" if len(foreign_tables) > 1 else ""
        raise DatabaseError(
            f"{table} belongs to {login}{suffix}, and this login may not erase from it: make the role that created it "
            f"its owner (alter table {table} owner to ...) or drop it, then run again"
        )
    connection.execute(load_query("erasure/tables.lock_tables"))
    refuse_foreign_code(connection)


def _redact_rejected_rows(connection: Connection, row_filter: RowFilter) -> int:
    values = {"in_place": PLACEHOLDER}
    with connection.cursor(name="rejected") as rejected:
        rejected.execute(load_query("erasure/user_rows.find_rejected_rows"), values)
        places = [place for place, endpoint, raw in rejected if matches_row(row_filter, endpoint, raw)]
    if not places:
        return 0
    return connection.execute(load_query("erasure/user_rows.blank_rejected_rows"), values | {"places": places}).rowcount


def _insert_record(connection: Connection, kind: Kind, reason: str, requested_by: str, now: datetime) -> int:
    values = {"kind": kind, "reason": reason, "requested_by": requested_by, "began_at": now}
    row = connection.execute(load_query("erasure/erasures.begin_erasure"), values).fetchone()
    if row is None:
        raise RuntimeError("the insert returned no number")
    return int(row[0])


def _tables(connection: Connection) -> list[tuple[str, str, str, str]]:
    return connection.execute(load_query("erasure/tables.find_tables_with_user_rows")).fetchall()


def _has_names(table: str) -> bool:
    return table.startswith(f"{USERS}_") and not table.endswith(("_removed", "_profile"))
