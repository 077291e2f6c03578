"""Frames arrive in Postgres as they were, by either way of COPY."""

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
def test_binary_copy_gives_what_was_sent(database: str, rows: pl.DataFrame) -> None:
    with connect(database) as connection, connection.transaction():
        connection.execute("create table staging.sent (whole bigint, small integer, real double precision)")
        write_numbers(connection, ("staging", "sent"), rows.schema, [rows.head(1), rows.slice(1)])
        found = connection.execute("select * from staging.sent").fetchall()
    assert found == rows.rows()


def test_frame_without_rows_is_written(database: str) -> None:
    with connect(database) as connection:
        connection.execute("create table staging.sent (whole bigint, small integer, real double precision)")
        write_frame(connection, ("staging", "sent"), ROWS.head(0))
        assert connection.execute("select count(*) from staging.sent").fetchone() == (0,)
