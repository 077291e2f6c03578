"""Polars frames into and out of Postgres, by COPY."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl
from psycopg import sql

from core.database import Connection, statement

_ROWS_PER_WRITE = 50_000


def copy_into(table: tuple[str, str], columns: tuple[str, ...]) -> sql.Composed:
    """The COPY statement that takes what `as_csv` yields."""
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    return sql.SQL("copy {} ({}) from stdin (format csv, null '\\N')").format(sql.Identifier(*table), names)


def as_csv(frame: pl.DataFrame) -> Iterator[bytes]:
    """The frame as CSV that Postgres reads back exactly: text quoted, null as an unquoted \\N."""
    for rows in frame.iter_slices(_ROWS_PER_WRITE):
        text = io.BytesIO()
        rows.write_csv(
            text,
            include_header=False,
            quote_style="non_numeric",
            null_value="\\N",
            datetime_format="%Y-%m-%d %H:%M:%S%.6f",
        )
        yield text.getvalue()


def write_frame(connection: Connection, table: tuple[str, str], frame: pl.DataFrame) -> None:
    """Append the frame to a table with columns of the same names."""
    with connection.cursor() as cursor, cursor.copy(copy_into(table, tuple(frame.columns))) as copy:
        for text in as_csv(frame):
            copy.write(text)


def read_frame(
    connection: Connection, name: str, schema: Mapping[str, pl.DataType], parameters: Mapping[str, Any] | None = None
) -> pl.DataFrame:
    """What `sql/<name>.sql`, a `copy (...) to stdout (format csv)`, gives: its columns in the order of `schema`."""
    with connection.cursor() as cursor, cursor.copy(statement(name), parameters) as copy:
        text = b"".join(bytes(data) for data in copy)
    return pl.read_csv(text, has_header=False, schema=dict(schema)) if text else pl.DataFrame(schema=schema)
