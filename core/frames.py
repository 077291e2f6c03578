"""Polars frames into and out of Postgres, by COPY."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, LiteralString

import numpy as np
import polars as pl
from psycopg import sql

from core.database import Connection
from core.errors import DatabaseError
from core.queries import load_query

_ROWS_PER_WRITE = 50_000
_BINARY_TYPES: dict[Any, str] = {pl.Int32: ">i4", pl.Int64: ">i8", pl.Float64: ">f8"}
_BYTES_PER_READ = 2**22
_SIGNATURE = b"PGCOPY\n\xff\r\n\x00" + bytes(8)  # no flags, no extension
_END_OF_COPY = b"\xff\xff"
_SIZE_OF = "size of "

NumberRows = np.ndarray[tuple[int], np.dtype[np.void]]


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
        copy.write(_SIGNATURE)
        for frame in frames:
            typed = frame.select(pl.col(name).cast(dtype) for name, dtype in columns.items())
            for rows in typed.iter_slices(_ROWS_PER_WRITE):
                copy.write(_binary_rows(rows))
        copy.write(_END_OF_COPY)


def read_numbers(
    connection: Connection, query: str, columns: Mapping[str, pl.DataType], parameters: Mapping[str, Any] | None = None
) -> Iterator[NumberRows]:
    """The result of a `copy (...) to stdout (format binary)` of numbers without nulls, in parts of 4 MB.

    Each part is a structured array in the byte order of the network. Raises DatabaseError if a column has another size.
    """
    row_type = _row_type(columns)
    template = np.zeros(1, row_type)
    _fill_sizes(template, columns)
    with connection.cursor() as cursor, cursor.copy(query, parameters) as copy:
        buffer, start = bytearray(), len(_SIGNATURE)
        for data in copy:
            buffer += data
            if len(buffer) - start >= _BYTES_PER_READ:
                count = (len(buffer) - start) // row_type.itemsize
                yield _checked_rows(bytes(buffer[start : start + count * row_type.itemsize]), template)
                del buffer[: start + count * row_type.itemsize]
                start = 0
    remaining = bytes(buffer[start : -len(_END_OF_COPY)])
    if remaining:
        yield _checked_rows(remaining, template)


def _checked_rows(data: bytes, template: NumberRows) -> NumberRows:
    try:
        rows = np.frombuffer(data, template.dtype)
    except ValueError:  # not a whole number of rows
        rows = template[:0]
    sizes = [field for field in template.dtype.names or () if field.startswith(_SIZE_OF)]
    if not len(rows) or any((rows[field] != template[field][0]).any() for field in ("columns", *sizes)):
        raise DatabaseError(f"a query did not return numbers of {len(sizes)} columns without nulls; report this defect")
    return rows


def _row_type(columns: Mapping[str, pl.DataType]) -> np.dtype[Any]:
    """A row in the binary format of COPY: the number of columns, then the size and the value of each."""
    fields: list[tuple[str, str]] = [("columns", ">i2")]
    for name, dtype in columns.items():
        fields += [(_SIZE_OF + name, ">i4"), (name, _BINARY_TYPES[type(dtype)])]
    return np.dtype(fields)


def _fill_sizes(rows: NumberRows, columns: Iterable[str]) -> None:
    names = list(columns)
    rows["columns"] = len(names)
    for name in names:
        rows[_SIZE_OF + name] = rows.dtype[name].itemsize


def _binary_rows(frame: pl.DataFrame) -> bytes:
    rows = np.empty(len(frame), _row_type(frame.schema))
    _fill_sizes(rows, frame.columns)
    for name in frame.columns:
        rows[name] = frame[name].to_numpy()
    return rows.tobytes()
