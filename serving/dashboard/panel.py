"""A panel of the health page, and the formatting that all panels share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.dashboard.page_data import PageData


@dataclass(frozen=True)
class Panel:
    """A panel: title, finding, table, and chart. `chart` is the name of a chart and its values, or None."""

    key: str
    title: str
    finding: str
    head: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()
    chart: tuple[str, dict[str, Any]] | None = None
    columns_of_text: frozenset[int] = field(default=frozenset({0}))


def over_days(data: PageData, values: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Values, and the first and last day of the time axis."""
    return {"values": list(values), "days": [str(data.days[0]), str(data.days[-1])]}


def nothing_to_draw(data: PageData, reason: str, start: bool = True) -> str:
    """The reason why a panel has no chart."""
    text = f"nothing to draw: {reason} in these {len(data.days)} days."
    return text[0].upper() + text[1:] if start else text


def count(number: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun, such as `1 batch` and `2 batches`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def percent(part: int, whole: int) -> str:
    """The percentage of a part; 0 if the whole is 0."""
    return share(min(1.0, part / whole) if whole else 0)


def share(part: float | None) -> str:
    """A share in percent. Shares below 1 % get two decimals."""
    if part is None:
        return "-"
    return f"{part:.2%}" if 0 < part < 0.01 else f"{part:.1%}"
