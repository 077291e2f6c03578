"""Frames are written to Postgres without change, by text and by binary COPY."""

from __future__ import annotations

import math

import polars as pl
import pytest

from core.database import connect
from core.frames import write_frame, write_numbers

ROWS = pl.DataFrame(
    {
        "whole": pl.Series([0, -1, 2**63 - 1, -(2**63)], dtype=pl.Int64),
        "small": pl.Series([0, 1, 2**31 - 1, -(2**31)], dtype=pl.Int32),
        "real": [0.1, -0.0, math.inf, 5e-324],
    }
)


@pytest.mark.parametrize("rows", [ROWS, ROWS.head(0), pl.concat([ROWS] * 30_000)], ids=["some", "none", "many"])
def test_binary_copy_writes_the_same_values(database: str, rows: pl.DataFrame) -> None:
    with connect(database) as connection, connection.transaction():
        connection.execute("create table staging.frames (whole bigint, small integer, real double precision)")
        write_numbers(connection, ("staging", "frames"), rows.schema, [rows.head(1), rows.slice(1)])
        stored = connection.execute("select * from staging.frames").fetchall()
    assert stored == rows.rows()


def test_frame_without_rows_is_written(database: str) -> None:
    with connect(database) as connection:
        connection.execute("create table staging.frames (whole bigint, small integer, real double precision)")
        write_frame(connection, ("staging", "frames"), ROWS.head(0))
        assert connection.execute("select count(*) from staging.frames").fetchone() == (0,)
