"""Polars frames into and out of Postgres, by COPY."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl
from psycopg import sql

from core.database import Connection, statement

_ROWS_PER_WRITE = 50_000
_BINARY: dict[Any, str] = {pl.Int32: ">i4", pl.Int64: ">i8", pl.Float64: ">f8"}


def copy_into(table: tuple[str, str], columns: tuple[str, ...], *, binary: bool = False) -> sql.Composed:
    """The COPY statement that takes what `as_csv` yields, or `as_binary`."""
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    how = sql.SQL("format binary" if binary else "format csv, null '\\N'")
    return sql.SQL("copy {} ({}) from stdin ({})").format(sql.Identifier(*table), names, how)


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


def as_binary(frame: pl.DataFrame) -> Iterator[bytes]:
    """Rows of integers and floats without nulls in the binary format of COPY, which Postgres need not parse.

    Integers of 32 bits are for columns of type integer, those of 64 for bigint, floats of 64 for double precision.
    The format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".
    """
    fields: list[tuple[str, str]] = [("columns", ">i2")]
    for name, kind in frame.schema.items():
        fields += [(f"size of {name}", ">i4"), (name, _BINARY[type(kind)])]
    yield b"PGCOPY\n\xff\r\n\x00" + bytes(8)  # no flags, no extension
    for part in frame.iter_slices(_ROWS_PER_WRITE):
        rows = np.empty(len(part), np.dtype(fields))
        rows["columns"] = len(frame.columns)
        for name in frame.columns:
            rows[f"size of {name}"] = rows.dtype[name].itemsize
            rows[name] = part[name].to_numpy()
        yield rows.tobytes()
    yield b"\xff\xff"
