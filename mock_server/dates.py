"""Days as people write them to the mock server."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def parse_day(text: Any) -> dt.date:
    """The day of a text like 2026-11-22. Raises ValueError for anything else, such as 20261122 or 2026-W47-7."""
    if not isinstance(text, str) or _DAY.fullmatch(text) is None:
        raise ValueError("not a day of the form YYYY-MM-DD")
    return dt.date.fromisoformat(text)
