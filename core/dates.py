"""Days and times on a command line or in a file: each has one format, and no other text is accepted."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(_DAY.pattern + r"T[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?:Z|[+-][0-9]{2}:[0-9]{2})?")


def parse_day(text: str) -> date:
    """The day of a text like 2026-11-22. Raises ValueError for any other, such as 20261122 or 2026-W47-7."""
    if _DAY.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a day of the form YYYY-MM-DD")
    return date.fromisoformat(text)


def parse_time(text: str) -> datetime:
    """The time of a text like 2026-11-22T03:00, with seconds, decimals and an offset if any.

    A day alone is its midnight. Raises ValueError for any other text, such as 20261122T0300.
    """
    if _DAY.fullmatch(text) is None and _TIME.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a time of the form YYYY-MM-DD[THH:MM]")
    return datetime.fromisoformat(text)


def _day(value: Any) -> Any:
    """Reject numbers and times as days. Pydantic would read a number as seconds since 1970."""
    if isinstance(value, str):
        return parse_day(value)
    if type(value) is date or value is None:
        return value
    raise ValueError("must be a day of the form YYYY-MM-DD")


# The type of a flow parameter that is a day.
Day = Annotated[date, BeforeValidator(_day)]
