"""How tables are stored: the partitions of `mart.user_track_plays`, and the tablespace of old months."""

from __future__ import annotations

from datetime import date

from psycopg import sql

from core.database import Connection, readable_errors
from core.errors import SettingsError
from core.queries import compose_query, load_query


@readable_errors()
def count_partitions(connection: Connection) -> int:
    """The number of partitions of `mart.user_track_plays`. 1 if it is a single table. Raises DatabaseError."""
    row = connection.execute(load_query("layout/user_track_plays.count_partitions")).fetchone()
    return int(row[0]) if row else 1


@readable_errors()
def partition_user_track_plays(connection: Connection, partitions: int) -> None:
    """Store `mart.user_track_plays` in this number of partitions by user, in one transaction. 1 means a single table.

    All rows, rights and comments stay. The caller owns the schema and holds the warehouse lock. Until the end of the
    transaction, the table takes twice its space and cannot be read. Raises DatabaseError.
    """
    with connection.transaction():
        connection.execute(load_query("layout/user_track_plays.rename_table"))
        if partitions == 1:
            connection.execute(load_query("layout/user_track_plays.create_table"))
        else:
            connection.execute(load_query("layout/user_track_plays.create_partitioned_table"))
        for remainder in range(partitions if partitions > 1 else 0):
            name = ("mart", f"user_track_plays_{partitions}_{remainder}")
            bounds = {"modulus": sql.Literal(partitions), "remainder": sql.Literal(remainder)}
            connection.execute(compose_query("layout/user_track_plays.create_partition", partition=name, **bounds))
        connection.execute(load_query("layout/user_track_plays.copy_rows"))
        for (statement,) in connection.execute(load_query("layout/user_track_plays.find_rights")).fetchall():
            connection.execute(statement)
        connection.execute(load_query("layout/user_track_plays.drop_renamed_table"))
    connection.execute("analyze mart.user_track_plays")


@readable_errors()
def move_old_months(connection: Connection, tablespace: str, cutoff: date) -> int:
    """Move the months of sessions and plays before the month of `cutoff` to a tablespace, with their keys.

    Each table or index is moved in its own transaction, which blocks its readers. Returns the number of moved tables
    and indexes. The caller owns the months and holds the warehouse lock. Raises SettingsError if the tablespace cannot
    be used, DatabaseError.
    """
    values = {"tablespace": tablespace, "cutoff": cutoff}
    row = connection.execute(load_query("layout/old_months.find_tablespace"), values).fetchone()
    if row is None:
        raise SettingsError(f"OLD_MONTHS_TABLESPACE names {tablespace}, which Postgres does not have; create it first")
    if not row[0]:
        raise SettingsError(
            f"OLD_MONTHS_TABLESPACE names {tablespace}, which ingest must not use; "
            f"grant create on tablespace {tablespace} to moovitamix_ingest"
        )
    statements = connection.execute(load_query("layout/old_months.find_old_months"), values).fetchall()
    for (statement,) in statements:
        connection.execute(statement)
    return len(statements)
