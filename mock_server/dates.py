"""Parsing of the days in options and control requests."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def parse_day(text: Any) -> dt.date:
    """Parse a day like 2026-11-22. Raises ValueError for other forms, such as 20261122 or 2026-W47-7."""
    if not isinstance(text, str) or _DAY.fullmatch(text) is None:
        raise ValueError("not a day of the form YYYY-MM-DD")
    return dt.date.fromisoformat(text)
