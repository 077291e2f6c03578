"""Row counts, checksums and constraints of tables. A backup records them, and a verification compares them."""

from __future__ import annotations

from psycopg import sql

from core.database import Connection
from core.queries import load_query

# The sum does not depend on the order of rows. `concat` formats a row like a dump; a cast to text could call a
# function of another user.
_CONTENTS = sql.SQL(
    "select count(*), coalesce(sum(hashtextextended(concat(whole_row), 0)), 0)::text from {} as whole_row"
)


def count_and_checksum(connection: Connection, schema: str, table: str) -> tuple[int, str]:
    """Return the number of rows of a table, and a checksum that does not depend on their order."""
    rows, checksum = connection.execute(_CONTENTS.format(sql.Identifier(schema, table))).fetchone() or (0, "0")
    return int(rows), str(checksum)


def count_constraints(connection: Connection) -> int:
    """Return the number of validated keys and checks in our schemas. Partitions add none of their own."""
    (number,) = connection.execute(load_query("restore/tables.count_constraints")).fetchone() or (0,)
    return int(number)
