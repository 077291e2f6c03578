"""Transformation: a row with an invalid time or duration is rejected, and other rows are not affected."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.endpoints import LISTEN_HISTORY, TRACKS
from pipeline.timestamps import LEAP_SECOND, WRONG_FORMAT
from tests.landed_rows import transform_rows
from tests.source_stub import session, track


def test_a_leap_second_is_rejected_and_not_moved_to_the_next_minute(tmp_path: Path) -> None:
    times = ["2016-12-31T23:59:60", "2017-01-01T00:00:00", " 2017-01-01T00:00:00", "2017-01-01T00"]
    batch = transform_rows(
        tmp_path, LISTEN_HISTORY, [session(1, [number], created_at=at) for number, at in enumerate(times)]
    )
    assert next(batch.parts(0))["items"].to_list() == ["{1}"]
    assert (batch.rows_duplicate, batch.rows_conflicting, batch.rows_rejected) == (0, 0, 3)
    (rejected,) = batch.rejected()
    assert rejected["reason"].to_list() == [
        f"created_at: {reason}" for reason in (LEAP_SECOND, WRONG_FORMAT, WRONG_FORMAT)
    ]


@pytest.mark.parametrize(
    "at", ["0000-01-01T00:00:00", "1969-12-31T23:59:59", "2026-11-22T00:00:01", "9999-12-31T23:59:59"]
)
def test_a_time_out_of_range_is_rejected_with_that_reason(at: str, tmp_path: Path) -> None:
    batch = transform_rows(tmp_path, TRACKS, [track(1), track(2, updated_at=at)])
    (rejected,) = batch.rejected()
    assert rejected["reason"].to_list() == [
        "updated_at: in the future" if at > "2026" else "updated_at: before 1970-01-01"
    ]


def test_a_duration_is_minutes_and_seconds_in_digits(tmp_path: Path) -> None:
    good = {"00:00": 0, "03:05": 185, "99:59": 5999, "100:00": 6000}
    bad = [
        "3:05", "03:5", "3:5", "03:60", " 03:05", "03:05 ", "03:05\n", "+3:05", "-03:05", "03:05.5", "0x3:05", "03.05",
        "1:02:03", "03\uff1a05", "\u0660\u0663:\u0660\u0665", "\uff10\uff13:\uff10\uff15", "185", "", "03:", "1000:00",
    ]  # fmt: skip
    batch = transform_rows(tmp_path, TRACKS, [track(n, duration=text) for n, text in enumerate([*good, *bad])])
    assert next(batch.parts(0))["duration_seconds"].to_list() == list(good.values())
    assert batch.rows_rejected == len(bad)
    assert {row for frame in batch.rejected() for row in frame["reason"]} == {"duration: not of the form MM:SS"}
