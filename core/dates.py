"""Parse days and times of command lines and files. Each has one format. Any other text is rejected."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(_DAY.pattern + r"T[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?:Z|[+-][0-9]{2}:[0-9]{2})?")


def parse_day(text: str) -> date:
    """Parse a day such as 2026-11-22. Raises ValueError for any other format, such as 20261122 or 2026-W47-7."""
    if _DAY.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a day of the form YYYY-MM-DD")
    return date.fromisoformat(text)


def parse_time(text: str) -> datetime:
    """Parse a time such as 2026-11-22T03:00. Seconds, decimals and an offset from UTC are optional.

    A day without a time means its midnight. Without an offset the result is naive. Raises ValueError for any other
    format, such as 20261122T0300.
    """
    if _DAY.fullmatch(text) is None and _TIME.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a time of the form YYYY-MM-DD[THH:MM]")
    return datetime.fromisoformat(text)


def months_before(day: date, months: int) -> date:
    """Return the first day of the month that is `months` months before the month of `day`.

    Raises ValueError before year 1.
    """
    number = 12 * day.year + day.month - 1 - months
    return date(number // 12, number % 12 + 1, 1)


def _validate_day(value: Any) -> Any:
    """Accept a text, a date or None. Pydantic would also accept times, and numbers as seconds since 1970."""
    if isinstance(value, str):
        return parse_day(value)
    if type(value) is date or value is None:
        return value
    raise ValueError("must be a day of the form YYYY-MM-DD")


Day = Annotated[date, BeforeValidator(_validate_day)]
"""The type of a flow parameter that is a day."""
