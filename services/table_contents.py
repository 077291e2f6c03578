"""What a backup notes of tables, and a verification compares: rows, a checksum of them, and constraints."""

from __future__ import annotations

from psycopg import sql

from core.database import Connection
from core.queries import load_query

# In any order of rows. `concat` writes a row as a dump does; a cast to text could run a function of others.
_CONTENTS = sql.SQL(
    "select count(*), coalesce(sum(hashtextextended(concat(whole_row), 0)), 0)::text from {} as whole_row"
)


def count_and_checksum(connection: Connection, schema: str, table: str) -> tuple[int, str]:
    """The number of rows of a table, and a checksum of them that does not depend on their order."""
    rows, checksum = connection.execute(_CONTENTS.format(sql.Identifier(schema, table))).fetchone() or (0, "0")
    return int(rows), str(checksum)


def count_constraints(connection: Connection) -> int:
    """How many keys and checks in our schemas hold for all rows. Those of partitions count with their parent."""
    (number,) = connection.execute(load_query("restore/tables.count_constraints")).fetchone() or (0,)
    return int(number)
