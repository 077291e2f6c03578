"""Times of the source. Each text has the documented format, or is rejected with a reason.

The format is `YYYY-MM-DDTHH:MM:SS`, then optionally a point and up to six decimals, then optionally `Z`, `+hh:mm` or
`-hh:mm`. A time without a zone is UTC. More than six decimals are valid if the rest are zeros. No time is rounded.
"""

from __future__ import annotations

import re
from datetime import datetime

import polars as pl

_NOT_A_DATE = "not a date of the form YYYY-MM-DDTHH:MM:SS"
WRONG_FORMAT = f"{_NOT_A_DATE}[.ffffff][Z or +hh:mm]"
NONEXISTENT_TIME = f"{_NOT_A_DATE} that exists"
LEAP_SECOND = "a leap second (second 60), which cannot be stored"
TOO_PRECISE = "more precise than a microsecond"

# The usual format, which Polars parses for a whole column. Without the pattern, it would accept " 2026-1-2T3:4:60" too.
_PLAIN_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-5][0-9](?:\.[0-9]{1,6})?$"
_PLAIN_FORMAT = "%Y-%m-%dT%H:%M:%S%.f"
_FORMAT = re.compile(
    r"(?P<until_second>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:(?P<second>[0-9]{2}))"
    r"(?:\.(?P<decimals>[0-9]+))?(?P<offset>Z|[+-][0-9]{2}:[0-5][0-9])?"
)


def parse_times(texts: pl.Series) -> tuple[pl.Series, pl.Series]:
    """The times in UTC, without a zone, and the reasons for invalid texts. For each text, one of the two is null."""
    times = texts.str.to_datetime(_PLAIN_FORMAT, time_unit="us", strict=False, cache=False)
    plain = texts.str.contains(_PLAIN_PATTERN) & times.is_not_null()
    problems = pl.Series(f"{texts.name}_problem", [None], dtype=pl.String).new_from_index(0, len(texts))
    if plain.all():
        return times, problems
    positions = (~plain).arg_true()
    parsed = [parse_time(text) for text in texts.gather(positions)]
    moments = pl.Series([time if isinstance(time, datetime) else None for time in parsed], dtype=pl.Datetime("us"))
    reasons = pl.Series([reason if isinstance(reason, str) else None for reason in parsed], dtype=pl.String)
    return times.scatter(positions, moments), problems.scatter(positions, reasons)


def parse_time(text: str) -> datetime | str:
    """The time in UTC, without a zone, or the reason why the text is invalid."""
    match = _FORMAT.fullmatch(text)
    if match is None:
        return WRONG_FORMAT
    decimals = match["decimals"] or ""
    if decimals[6:].strip("0"):
        return TOO_PRECISE
    if match["second"] == "60":
        return LEAP_SECOND
    try:
        time = datetime.fromisoformat(f"{match['until_second']}.{decimals[:6]:<06}{match['offset'] or '+00:00'}")
        offset = time.utcoffset()
        return time.replace(tzinfo=None) if offset is None else (time - offset).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return NONEXISTENT_TIME
