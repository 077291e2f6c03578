"""A panel of the health page, and the formatting that all panels share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.dashboard.page_data import PageData


@dataclass(frozen=True)
class Panel:
    """One panel: title, finding, table and chart.

    `head` and `rows` are the table. `chart` is the name and the data of the chart. `columns_of_text` are the positions
    of the table columns that hold text; the others hold numbers.
    """

    key: str
    title: str
    finding: str
    head: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()
    chart: tuple[str, dict[str, Any]] | None = None
    columns_of_text: frozenset[int] = field(default=frozenset({0}))


def over_days(data: PageData, values: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The data of a chart over time: its values, and the first and last day of the axis."""
    return {"values": list(values), "days": [str(data.days[0]), str(data.days[-1])]}


def nothing_to_draw(data: PageData, reason: str) -> str:
    """The text that explains why a panel has no chart."""
    return f"Nothing to draw: {reason} in these {len(data.days)} days."


def count(number: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun, such as `1 batch` and `2 batches`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def percent(part: int, whole: int) -> str:
    """A part of a whole in percent, at most 100 %. Returns 0 % if the whole is 0."""
    return share(min(1.0, part / whole) if whole else 0)


def share(part: float | None) -> str:
    """A share in percent with one decimal, or with two below 1 %. Returns `-` for None."""
    if part is None:
        return "-"
    return f"{part:.2%}" if 0 < part < 0.01 else f"{part:.1%}"
