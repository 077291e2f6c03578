"""Erasing a listener from the database: every row with their id, and the text of rejected rows that are theirs.

`flows/erase.py` calls the steps in order; the raw pages are in `erasure/landed_pages.py`.
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
from core.endpoints import USERS
from core.errors import DatabaseError, UsageError
from core.queries import compose_query, load_query
from core.roles import refuse_foreign_code
from erasure import suppression_list
from erasure.subject_matching import UserIdentity
from erasure.suppression_list import SuppressionEntry, SuppressionList
from pipeline.decoding import readable_row_id
from pipeline.row_filter import PLACEHOLDER, RowFilter, matches_row

Kind = Literal["erased", "allowed"]
RowCounts = Mapping[str, int]
_LARGEST_ID = 2**63 - 1


def check_user_id(user_id: int) -> int:
    """The id, if a listener can have it. Raises UsageError."""
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
    """Turn the listener away from now on, and open the record, in one transaction.

    Returns its number, and what was found when it was cut off before: then it is the same record. Raises DatabaseError.
    """
    entry = suppressed.suppressed_entry(identity.user_id, now, identity.e_mails)
    names = {"key": entry.key, "fingerprint": entry.fingerprint}
    row = connection.execute(load_query("erasure/erasures.find_open_erasure"), names).fetchone()
    if row is not None:
        return row[0], row[1]
    with connection.transaction():
        number = _record(connection, "erased", reason, requested_by, now)
        save_entries(connection, [entry], number)
    return number, {}


@readable_errors()
def allow_user(
    connection: Connection, user_id: int, suppressed: SuppressionList, *, reason: str, requested_by: str, now: datetime
) -> bool:
    """Let the listener come in again with the next list that has them. Returns whether they were turned away."""
    entry = suppressed.entry_of(user_id)
    found = entry is not None and entry.allowed_at is None
    with connection.transaction():
        number = _record(connection, "allowed", reason, requested_by, now)
        if entry is not None and found:
            save_entries(connection, [replace(entry, allowed_at=now)], number)
        finish_erasure(connection, number, {"ops.suppressed_listeners": int(found)}, now)
    return found


def save_entries(connection: Connection, entries: Sequence[SuppressionEntry], erasure_id: int | None = None) -> None:
    """Write down who is turned away, where the database does not know better."""
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
def record_counts(connection: Connection, erasure_id: int, found: RowCounts) -> None:
    """Write down what there is to be erased, before it is."""
    connection.execute(
        load_query("erasure/erasures.record_erased_rows"),
        {"erasure_id": erasure_id, "found": Jsonb(dict(sorted(found.items())))},
    )


def finish_erasure(connection: Connection, erasure_id: int, found: RowCounts, now: datetime) -> None:
    """Close the record."""
    connection.execute(
        load_query("erasure/erasures.finish_erasure"),
        {"erasure_id": erasure_id, "found": Jsonb(dict(sorted(found.items()))), "finished_at": now},
    )


@readable_errors()
def identify_user(connection: Connection, user_id: int) -> UserIdentity:
    """The listener with every e-mail and name that the database has of them.

    Raises DatabaseError where `erase_rows` could not, or must not, erase them: so nothing is touched before.
    """
    tables = [("warehouse", "users")]
    identity = UserIdentity(user_id)
    with connection.transaction():
        _hold_tables(connection)
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
    """Delete every row of the listener and close the record, in one transaction.

    The caller holds the warehouse lock. Returns what was found, and the tables that have dead rows now.
    """
    found: Counter[str] = Counter()
    touched: list[tuple[str, str]] = []
    values = {"user_id": identity.user_id}
    with connection.transaction():
        _hold_tables(connection)
        connection.execute(load_query("erasure/user_rows.lock_user"), values)
        found["warehouse.listen_history_tracks"] = connection.execute(
            load_query("erasure/user_rows.delete_plays"), values
        ).rowcount
        for schema, table, column, told_as in _tables(connection):
            names: dict[str, Any] = {"table": (schema, table), "column": column}
            deleted = connection.execute(
                compose_query("erasure/user_rows.delete_rows_of_user", **names), values
            ).rowcount
            found[told_as] += deleted
            touched += [(schema, table)] if deleted else []
        found["warehouse.users"] = connection.execute(load_query("erasure/user_rows.delete_user"), values).rowcount
        found["ops.quarantined_rows"] = connection.execute(
            load_query("erasure/user_rows.delete_quarantined_rows"), values
        ).rowcount
        found["ops.rejected_rows"] = _blank_rejected(connection, identity)
        told = {place: rows for place, rows in found.items() if rows}
        finish_erasure(connection, erasure_id, told, now)
    ours = ("warehouse.users", "warehouse.listen_history_tracks", "ops.quarantined_rows", "ops.rejected_rows")
    touched += [(schema, table) for schema, _, table in (name.partition(".") for name in ours if found[name])]
    return told, touched


@readable_errors()
def vacuum(connection: Connection, tables: Sequence[tuple[str, str]]) -> None:
    """Let Postgres take deleted rows out of its pages."""
    for table in tables:
        connection.execute(sql.SQL("vacuum {}").format(sql.Identifier(*table)))


@readable_errors()
def reappeared_user_ids(connection: Connection, suppressed: SuppressionList) -> set[int]:
    """Erased listeners of whom the database has rows all the same, as after a restore of an older backup."""
    ids = {row[0] for row in connection.execute(load_query("erasure/user_rows.find_user_ids"))}
    with connection.transaction(), connection.cursor(name="rejected") as rejected:
        rejected.execute(load_query("erasure/user_rows.find_rejected_rows"), {"in_place": PLACEHOLDER})
        told = (readable_row_id(endpoint, raw) for _, endpoint, raw in rejected)
        ids |= {row_id for row_id in told if row_id is not None}
    return suppressed.matching_ids(ids)


@readable_errors()
def redact_rejected_rows(
    connection: Connection,
    suppressed: SuppressionList,
    found: RowCounts,
    *,
    reason: str,
    requested_by: str,
    now: datetime,
) -> RowCounts:
    """Blank rejected rows that are of erased users, and record it with what was `found` in files, if there was any.

    Raises DatabaseError.
    """
    with connection.transaction():
        _hold_tables(connection)
        everything = Counter(found) + Counter({"ops.rejected_rows": _blank_rejected(connection, suppressed)})
        if everything:
            finish_erasure(connection, _record(connection, "erased", reason, requested_by, now), everything, now)
    return everything


def merge_into_database(connection: Connection, suppressed: SuppressionList) -> SuppressionList:
    """Bring the list of the database in line with that of the copy; returns both together."""
    with readable_errors(), connection.transaction():
        save_entries(connection, suppressed.entries)
    return suppression_list.merge(suppressed, suppression_list.read_database(connection))


def _hold_tables(connection: Connection) -> None:
    """Nobody hangs anything on tables of roles until the transaction ends, and nobody has: we touch them as the owner.

    To take the role first would not do: what runs then can give it back.
    """
    strangers = connection.execute(load_query("erasure/tables.find_tables_without_rights")).fetchall()
    if strangers:
        table, login = strangers[0]
        more = f" (and {len(strangers) - 1} more)" if len(strangers) > 1 else ""
        raise DatabaseError(
            f"{table} belongs to {login}{more}, and this login may not erase from it: give it to the role that made it "
            f"(alter table {table} owner to ...) or drop it, then run again"
        )
    connection.execute(load_query("erasure/tables.lock_tables"))
    refuse_foreign_code(connection)


def _blank_rejected(connection: Connection, row_filter: RowFilter) -> int:
    values = {"in_place": PLACEHOLDER}
    with connection.cursor(name="rejected") as rejected:
        rejected.execute(load_query("erasure/user_rows.find_rejected_rows"), values)
        places = [place for place, endpoint, raw in rejected if matches_row(row_filter, endpoint, raw)]
    if not places:
        return 0
    return connection.execute(load_query("erasure/user_rows.blank_rejected_rows"), values | {"places": places}).rowcount


def _record(connection: Connection, kind: Kind, reason: str, requested_by: str, now: datetime) -> int:
    values = {"kind": kind, "reason": reason, "requested_by": requested_by, "began_at": now}
    row = connection.execute(load_query("erasure/erasures.begin_erasure"), values).fetchone()
    if row is None:
        raise RuntimeError("the insert returned no number")
    return int(row[0])


def _tables(connection: Connection) -> list[tuple[str, str, str, str]]:
    return connection.execute(load_query("erasure/tables.find_tables_with_user_rows")).fetchall()


def _has_names(table: str) -> bool:
    return table.startswith(f"{USERS}_") and not table.endswith(("_removed", "_profile"))
