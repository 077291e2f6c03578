"""Polars frames into and out of Postgres, by COPY."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, LiteralString

import numpy as np
import polars as pl
from psycopg import sql

from core.database import Connection
from core.queries import load_query

_ROWS_PER_WRITE = 50_000
_BINARY_TYPES: dict[Any, str] = {pl.Int32: ">i4", pl.Int64: ">i8", pl.Float64: ">f8"}


def copy_into(table: tuple[str, str], columns: tuple[str, ...]) -> sql.Composed:
    """The COPY statement that reads the output of `as_csv`."""
    return _copy_into(table, columns, "format csv, null '\\N'")


def _copy_into(table: tuple[str, str], columns: Iterable[str], options: LiteralString) -> sql.Composed:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    return sql.SQL("copy {} ({}) from stdin ({})").format(sql.Identifier(*table), names, sql.SQL(options))


def as_csv(frame: pl.DataFrame) -> Iterator[bytes]:
    """The frame as CSV without loss: texts are quoted, a null is an unquoted \\N."""
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
    """Append the frame to a table that has columns of the same names."""
    with connection.cursor() as cursor, cursor.copy(copy_into(table, tuple(frame.columns))) as copy:
        for text in as_csv(frame):
            copy.write(text)


def read_frame(
    connection: Connection, name: str, schema: Mapping[str, pl.DataType], parameters: Mapping[str, Any] | None = None
) -> pl.DataFrame:
    """The result of a named query, a `copy (...) to stdout (format csv)`, with its columns in the order of `schema`."""
    return read_query(connection, load_query(name), schema, parameters)


def read_query(
    connection: Connection,
    query: str | sql.Composed,
    schema: Mapping[str, pl.DataType],
    parameters: Mapping[str, Any] | None = None,
) -> pl.DataFrame:
    """The result of a `copy (...) to stdout (format csv)`, with its columns in the order of `schema`."""
    with connection.cursor() as cursor, cursor.copy(query, parameters) as copy:
        text = b"".join(bytes(data) for data in copy)
    return pl.read_csv(text, has_header=False, schema=dict(schema)) if text else pl.DataFrame(schema=schema)


def write_numbers(
    connection: Connection, table: tuple[str, str], columns: Mapping[str, pl.DataType], frames: Iterable[pl.DataFrame]
) -> None:
    """Fill a table, created in the same transaction, with frames of numbers without nulls.

    It uses the binary format of COPY, which Postgres does not have to parse. The option FREEZE saves later readers
    from looking up whether the rows are committed. `columns` are Int32 for integer, Int64 for bigint, and Float64 for
    double precision. Source: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".
    """
    with connection.cursor() as cursor, cursor.copy(_copy_into(table, columns, "format binary, freeze")) as copy:
        copy.write(b"PGCOPY\n\xff\r\n\x00" + bytes(8))  # no flags, no extension
        for frame in frames:
            typed = frame.select(pl.col(name).cast(dtype) for name, dtype in columns.items())
            for rows in typed.iter_slices(_ROWS_PER_WRITE):
                copy.write(_binary_rows(rows))
        copy.write(b"\xff\xff")


def _binary_rows(frame: pl.DataFrame) -> bytes:
    fields: list[tuple[str, str]] = [("columns", ">i2")]
    for name, dtype in frame.schema.items():
        fields += [(f"size of {name}", ">i4"), (name, _BINARY_TYPES[type(dtype)])]
    rows = np.empty(len(frame), np.dtype(fields))
    rows["columns"] = len(frame.columns)
    for name in frame.columns:
        rows[f"size of {name}"] = rows.dtype[name].itemsize
        rows[name] = frame[name].to_numpy()
    return rows.tobytes()
