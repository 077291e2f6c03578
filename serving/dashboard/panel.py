"""A figure of the page, and the words and numbers that all of them are put into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.dashboard.page_data import PageData


@dataclass(frozen=True)
class Panel:
    """A figure of the page. `drawing` is the chart's name and its values; None: there is nothing to draw yet."""

    key: str
    title: str
    finding: str
    head: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()
    chart: tuple[str, dict[str, Any]] | None = None
    columns_of_text: frozenset[int] = field(default=frozenset({0}))


def over_days(data: PageData, values: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Values, and the days that are drawn whether they have any or not."""
    return {"values": list(values), "days": [str(data.days[0]), str(data.days[-1])]}


def nothing_to_draw(data: PageData, why: str, start: bool = True) -> str:
    """Why there is no picture."""
    text = f"nothing to draw: {why} in these {len(data.days)} days."
    return text[0].upper() + text[1:] if start else text


def count(number: int, what: str, many: str | None = None) -> str:
    """Such as `1 batch` and `2 batches`."""
    return f"{number:,} {what if number == 1 else many or what + 's'}"


def percent(part: int, whole: int) -> str:
    """A part of a whole, which may be nothing."""
    return share(min(1.0, part / whole) if whole else 0)


def share(part: float | None) -> str:
    """In percent, small ones exactly enough not to be none."""
    if part is None:
        return "-"
    return f"{part:.2%}" if 0 < part < 0.01 else f"{part:.1%}"
