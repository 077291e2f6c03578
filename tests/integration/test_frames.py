"""Frames are written to Postgres without change, by text and by binary COPY."""

from __future__ import annotations

import math

import polars as pl
import pytest

from core.database import connect
from core.errors import DatabaseError
from core.frames import read_numbers, write_frame, write_numbers

ROWS = pl.DataFrame(
    {
        "whole": pl.Series([0, -1, 2**63 - 1, -(2**63)], dtype=pl.Int64),
        "small": pl.Series([0, 1, 2**31 - 1, -(2**31)], dtype=pl.Int32),
        "real": [0.1, -0.0, math.inf, 5e-324],
    }
)


@pytest.mark.parametrize("rows", [ROWS, ROWS.head(0), pl.concat([ROWS] * 40_000)], ids=["some", "none", "many"])
def test_binary_copy_writes_the_same_values(database: str, rows: pl.DataFrame) -> None:
    with connect(database) as connection, connection.transaction():
        connection.execute("create table staging.frames (whole bigint, small integer, real double precision)")
        write_numbers(connection, ("staging", "frames"), rows.schema, [rows.head(1), rows.slice(1)])
        stored = connection.execute("select * from staging.frames").fetchall()
        copied = list(read_numbers(connection, "copy staging.frames to stdout (format binary)", rows.schema))
    assert stored == rows.rows()
    read = [part[list(rows.columns)].tolist() for part in copied]
    assert [row for part in read for row in part] == rows.rows()
    assert len(read) == (2 if len(rows) > 100_000 else bool(len(rows)))  # 34 bytes a row, in parts of 4 MB


@pytest.mark.parametrize("values", ["null::bigint", "1::integer", "1::bigint, 2::bigint"])
def test_null_or_column_of_another_type_is_not_read_as_a_number(database: str, values: str) -> None:
    query = f"copy (select {values}) to stdout (format binary)"
    with connect(database) as connection, pytest.raises(DatabaseError, match="did not return numbers of 1 columns"):
        list(read_numbers(connection, query, {"whole": pl.Int64()}))


def test_frame_without_rows_is_written(database: str) -> None:
    with connect(database) as connection:
        connection.execute("create table staging.frames (whole bigint, small integer, real double precision)")
        write_frame(connection, ("staging", "frames"), ROWS.head(0))
        assert connection.execute("select count(*) from staging.frames").fetchone() == (0,)
