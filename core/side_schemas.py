"""Schemas beside the live ones during a restore: those that it builds, and those that it has replaced.

One transaction that restores or drops hundreds of partitions needs more locks than Postgres has. So a restore builds
beside the live schemas in many transactions, and one renames them (docs/adr/0024-a-restore-swaps-schemas.md). Names
that begin with `moovitamix_restoring_`, `moovitamix_replaced_` and `moovitamix_live_` are reserved for this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
from psycopg import sql

from core.database import Connection, readable_errors
from core.errors import DatabaseError
from core.queries import load_query
from core.roles import refuse_foreign_code

SCHEMAS = ("ops", "staging", "warehouse", "mart", "ml", "serving", "stream")
RESTORING = "moovitamix_restoring_"
REPLACED = "moovitamix_replaced_"

# A table with its indexes, large values and foreign keys takes about ten locks; a server has thousands.
_TABLES_PER_TRANSACTION = 50
_LOCK_TIMEOUT = "10s"


@readable_errors()
def find_schemas(connection: Connection, *prefixes: str) -> list[str]:
    """The names of our schemas that exist with one of these prefixes."""
    names = [prefix + schema for prefix in prefixes for schema in SCHEMAS]
    rows = connection.execute("select nspname::text from pg_namespace where nspname = any(%s) order by 1", [names])
    return [name for (name,) in rows]


@contextmanager
def restore_step(connection: Connection) -> Iterator[None]:
    """One transaction in which the schemas being restored have their final names. Raises DatabaseError."""
    with readable_errors(), connection.transaction():
        connection.execute(load_query("restore/schemas.begin_step"))
        yield
        connection.execute(load_query("restore/schemas.end_step"))


def swap_schemas(connection: Connection) -> None:
    """Make the restored schemas the live ones in one transaction, under locks that block readers and writers.

    Raises DatabaseError if a transaction uses a live table, or the restored schemas contain foreign code.
    """
    with _transaction_with_lock_timeout(connection):
        tables = [sql.Identifier(*name) for name in connection.execute(load_query("restore/tables.find_tables_in_use"))]
        if tables:
            names = sql.SQL(", ").join(tables)
            try:
                connection.execute(sql.SQL("lock table only {} in access exclusive mode").format(names))
            except psycopg.errors.LockNotAvailable as error:
                raise DatabaseError("somebody reads or writes a table; end that, then try again") from error
        connection.execute(load_query("restore/schemas.swap_schemas"))
        refuse_foreign_code(connection)


def drop_tables(connection: Connection, *prefixes: str) -> None:
    """Drop the tables of these schemas, a few in each transaction; the schemas stay.

    The caller holds the warehouse lock. Raises DatabaseError; run it again to continue.
    """
    schemas = find_schemas(connection, *prefixes)
    while schemas and _drop_some_tables(connection, schemas):
        pass


def drop_schemas(connection: Connection, *prefixes: str) -> None:
    """Drop these schemas and their content in steps, otherwise like `drop_tables`."""
    drop_tables(connection, *prefixes)
    for schema in find_schemas(connection, *prefixes):
        with _transaction_with_lock_timeout(connection):
            connection.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(schema)))


def _drop_some_tables(connection: Connection, schemas: Sequence[str]) -> int:
    """Returns the number of dropped tables."""
    with _transaction_with_lock_timeout(connection):
        parameters = {"schemas": list(schemas), "at_once": _TABLES_PER_TRANSACTION}
        tables = connection.execute(load_query("restore/tables.find_tables_to_drop"), parameters).fetchall()
        for table in tables:
            connection.execute(sql.SQL("drop table if exists {} cascade").format(sql.Identifier(*table)))
    return len(tables)


@contextmanager
def _transaction_with_lock_timeout(connection: Connection) -> Iterator[None]:
    """A transaction that fails if another session holds a table for longer than a few seconds."""
    with readable_errors(), connection.transaction():
        connection.execute("select set_config('lock_timeout', %s, true)", [_LOCK_TIMEOUT])
        yield
