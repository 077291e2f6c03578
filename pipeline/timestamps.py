"""Times as the source writes them, by one grammar: each is its own moment in UTC, or rejected with a reason.

`YYYY-MM-DDTHH:MM:SS`, then optionally a point and up to six decimals, then optionally `Z`, `+hh:mm` or `-hh:mm`. A time
without a zone is UTC. Further decimals may follow if they are zeros. Nothing is rounded, shifted or guessed at.
"""

from __future__ import annotations

import re
from datetime import datetime

import polars as pl

_FORM = "not a date of the form YYYY-MM-DDTHH:MM:SS"
NOT_THE_FORM = f"{_FORM}[.ffffff][Z or +hh:mm]"
NOT_IN_THE_CALENDAR = f"{_FORM} that exists"
LEAP_SECOND = "a leap second (second 60), which cannot be stored"
TOO_PRECISE = "more precise than a microsecond"

# What nearly every source writes, read in one go; Polars alone would take " 2026-1-2T3:4:60" too.
_PLAIN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-5][0-9](?:\.[0-9]{1,6})?$"
_PLAIN_FORMAT = "%Y-%m-%dT%H:%M:%S%.f"
_ANY = re.compile(
    r"(?P<until_second>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:(?P<second>[0-9]{2}))"
    r"(?:\.(?P<decimals>[0-9]+))?(?P<offset>Z|[+-][0-9]{2}:[0-5][0-9])?"
)


def parse_times(texts: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Moments in UTC, without a zone, and why a text is none; of each pair, one is null."""
    times = texts.str.to_datetime(_PLAIN_FORMAT, time_unit="us", strict=False, cache=False)
    plain = texts.str.contains(_PLAIN) & times.is_not_null()
    problems = pl.Series(f"{texts.name}_problem", [None], dtype=pl.String).new_from_index(0, len(texts))
    if plain.all():
        return times, problems
    others = (~plain).arg_true()
    read = [parse_time(text) for text in texts.gather(others)]
    moments = pl.Series([one if isinstance(one, datetime) else None for one in read], dtype=pl.Datetime("us"))
    reasons = pl.Series([one if isinstance(one, str) else None for one in read], dtype=pl.String)
    return times.scatter(others, moments), problems.scatter(others, reasons)


def parse_time(text: str) -> datetime | str:
    """The moment in UTC, without a zone; or why it is none."""
    match = _ANY.fullmatch(text)
    if match is None:
        return NOT_THE_FORM
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
        return NOT_IN_THE_CALENDAR
