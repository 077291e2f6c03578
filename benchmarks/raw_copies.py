"""The baseline of staging: one COPY of the same bytes into an unlogged table of the same definition."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import psycopg
from psycopg import sql
from psycopg.abc import Buffer, Params, Query
from psycopg.copy import Copy, LibpqWriter, Writer

from core.database import Connection
from core.endpoints import Endpoint
from pipeline.endpoint_tables import STAGING, create_rows_table

_TABLE = "raw_copy"
_CHUNK = 1 << 20


class RecordedCopies:
    """Records the bytes and the statement of the COPY into one staged table."""

    def __init__(self, table: str, file: Path) -> None:
        self.table = f'"{STAGING}"."{table}"'
        self._file = file
        self.statement = ""

    def recording_cursor(self, connection: Connection, **options: Any) -> psycopg.Cursor[Any]:
        """A cursor that records. Use it as the `cursor_factory` of a connection."""
        return _RecordingCursor(connection, self, **options)

    def writer(self, cursor: psycopg.Cursor[Any], statement: Query) -> Writer | None:
        """A writer that also writes to the file, if the statement copies into the table."""
        text = statement.as_string(cursor) if isinstance(statement, sql.Composable) else str(statement)
        if f"copy {self.table} " not in text:
            return None
        self.statement = text.replace(self.table, f'"{STAGING}"."{_TABLE}"')
        return _TeeWriter(LibpqWriter(cursor), self._file.open("wb"))


class _RecordingCursor(psycopg.Cursor[Any]):
    def __init__(self, connection: Connection, copies: RecordedCopies, **options: Any) -> None:
        super().__init__(connection, **options)
        self._copies = copies

    @contextmanager
    def copy(self, statement: Query, params: Params | None = None, *, writer: Writer | None = None) -> Iterator[Copy]:
        with super().copy(statement, params, writer=writer or self._copies.writer(self, statement)) as copy:
            yield copy


class _TeeWriter(Writer):
    def __init__(self, database: Writer, file: BinaryIO) -> None:
        self._database = database
        self._file = file

    def write(self, data: Buffer) -> None:
        self._file.write(data)
        self._database.write(data)

    def finish(self, exc: BaseException | None = None) -> None:
        self._file.close()
        self._database.finish(exc)


def unload(connection: Connection, table: str, file: Path) -> str:
    """Write the rows of a staged table to a file. Returns the statement for `raw_copy`."""
    source = sql.SQL("copy {} to stdout (format csv)").format(sql.Identifier(STAGING, table))
    with connection.cursor() as cursor, file.open("wb") as target, cursor.copy(source) as copy:
        for data in copy:
            target.write(data)
    return f"copy {STAGING}.{_TABLE} from stdin (format csv)"


def raw_copy(connection: Connection, endpoint: Endpoint, statement: str, file: Path) -> None:
    """Create the table and fill it from the file, in one transaction."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(create_rows_table(endpoint, _TABLE))
        with cursor.copy(statement) as copy, file.open("rb") as source:
            while data := source.read(_CHUNK):
                copy.write(data)


def drop_raw_copy(connection: Connection) -> None:
    """Drop the table of `raw_copy`, if it exists."""
    connection.execute(sql.SQL("drop table if exists {}").format(sql.Identifier(STAGING, _TABLE)))
