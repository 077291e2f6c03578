"""Times of the source: one format. Each text is parsed exactly, or rejected with a reason."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest

from pipeline.timestamps import LEAP_SECOND, NONEXISTENT_TIME, TOO_PRECISE, WRONG_FORMAT, parse_times

ACCEPTED = {
    "2024-11-20T10:00:00": "2024-11-20T10:00:00",
    "2024-11-20T10:00:00.5": "2024-11-20T10:00:00.5",
    "2024-11-20T10:00:00.123456": "2024-11-20T10:00:00.123456",
    "2024-11-20T10:00:00.123456000": "2024-11-20T10:00:00.123456",
    "2024-11-20T10:00:00.0000000000000": "2024-11-20T10:00:00",
    "2024-11-20T10:00:00Z": "2024-11-20T10:00:00",
    "2024-11-20T10:00:00.25Z": "2024-11-20T10:00:00.25",
    "2024-11-20T10:00:00+14:00": "2024-11-19T20:00:00",
    "2024-11-20T10:00:00-03:30": "2024-11-20T13:30:00",
    "2024-11-20T10:00:00-00:00": "2024-11-20T10:00:00",
    "2024-02-29T23:59:59.999999": "2024-02-29T23:59:59.999999",
    "1970-01-01T00:00:00": "1970-01-01T00:00:00",
    "1969-12-31T23:59:59": "1969-12-31T23:59:59",
    "9999-12-31T23:59:59.999999": "9999-12-31T23:59:59.999999",
}
REJECTED = {
    LEAP_SECOND: ["2016-12-31T23:59:60", "2024-06-30T12:34:60", "2016-12-31T23:59:60Z", "2016-12-31T23:59:60.5"],
    TOO_PRECISE: ["2024-11-20T10:00:00.1234567", "2024-11-20T10:00:00.123456789", "2024-11-20T10:00:00.1234567890123"],
    NONEXISTENT_TIME: [
        "2024-11-20T24:00:00", "2024-11-20T10:60:00", "2024-11-20T10:00:61", "2023-02-29T10:00:00",
        "1900-02-29T10:00:00", "2024-13-01T10:00:00", "2024-00-10T10:00:00", "2024-11-31T10:00:00",
        "2024-11-20T10:00:00+25:00", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-01:00",
    ],
    WRONG_FORMAT: [
        "", " ", "null", "2024-11-20", "2024-11-20T10", "2024-11-20T10:00", "2024-11-20 10:00:00",
        "2024-11-20t10:00:00", "2024-11-20T10:00:00z", "20241120T100000", "2024-11-20T100000", "2024-W47-3T10:00:00",
        "2024-325T10:00:00", "2024-1-2T3:4:5", "24-11-20T10:00:00", "+2024-11-20T10:00:00", "-2024-11-20T10:00:00",
        "10000-01-01T00:00:00", "2024-11-20T10:00:00.", "2024-11-20T10:00:00,5", "2024-11-20T10:00:00.5.5",
        " 2024-11-20T10:00:00", "2024-11-20T10:00:00 ", "2024-11-20T10:00:00\n", "\t2024-11-20T10:00:00",
        "2024-11-20T10:00:00\u00a0", "2024-11-20T10:00:00\0", "2024-11-20T10:00: 0", "2024- 1-20T10:00:00",
        "\uff12\uff10\uff12\uff14-11-20T10:00:00", "\u0662\u0660\u0662\u0664-11-20T10:00:00",
        "2024\u201011\u201020T10:00:00", "2024-11-20T10:00:00+0000", "2024-11-20T10:00:00+00",
        "2024-11-20T10:00:00+1:00", "2024-11-20T10:00:00+00:60", "2024-11-20T10:00:00 Z",
        "2024-11-20T10:00:00+00:00:30",
        "2024-11-20T10:00:00\u2212 01:00", "2024-11-20T10:00:00Z[Europe/Paris]", "2024-11-20T10:00:00 UTC",
        "Wed, 20 Nov 2024 10:00:00 GMT", "1732096800", "1732096800.5", "2024/11/20T10:00:00", "20-11-2024T10:00:00",
    ],
}  # fmt: skip


def test_a_valid_text_is_parsed_exactly() -> None:
    times, problems = parse_times(pl.Series("created_at", list(ACCEPTED)))
    assert times.to_list() == [datetime.fromisoformat(moment) for moment in ACCEPTED.values()]
    assert problems.null_count() == len(problems)


def test_a_column_of_times_in_the_usual_format_has_the_same_result() -> None:
    plain = [text for text in ACCEPTED if text[-1].isdigit() and len(text) <= 26 and text[19:20] in ("", ".")]
    assert len(plain) > 4
    times, problems = parse_times(pl.Series("created_at", plain))
    assert times.to_list() == [datetime.fromisoformat(ACCEPTED[text]) for text in plain]
    assert problems.null_count() == len(plain)


@pytest.mark.parametrize("reason", REJECTED)
def test_any_other_text_is_rejected_with_a_reason(reason: str) -> None:
    texts = [*REJECTED[reason], "2024-11-20T10:00:00"]
    times, problems = parse_times(pl.Series("created_at", texts))
    assert dict(zip(texts, problems.to_list(), strict=True)) == dict.fromkeys(REJECTED[reason], reason) | {
        texts[-1]: None
    }
    assert times.to_list() == [None] * len(REJECTED[reason]) + [datetime(2024, 11, 20, 10)]
