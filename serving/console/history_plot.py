"""A figure by day as SVG: a line, the range that passes, and a cross on days that failed. The template draws it.

Altair draws the charts of the health page in two seconds (ADR 0019). A console has a plot for each expectation and must
answer in 300 ms, so this one kind of plot is computed here, at three widths, with the colours of the page.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from serving.console.rendering import number

# The sizes of the style sheet, with their widths in pixels and the number of days that are labelled.
_SIZES = (("large", 1200, 8), ("medium", 800, 6), ("small", 330, 4))
_HEIGHT, _TOP, _BOTTOM, _LEFT, _RIGHT = 260, 12, 26, 64, 16
_TICKS = 4
_ROUNDING = 1e-9
_LONGEST_NUMBER = 1e7  # a larger label is written with an exponent: it does not fit


@dataclass(frozen=True)
class PlotDay:
    """The figure of one day; `value`, `lower` and `upper` are None where there is none. `note` is the tooltip."""

    day: date
    value: float | None
    lower: float | None = None
    upper: float | None = None
    failed: bool = False
    critical: bool = False
    note: str = ""


@dataclass(frozen=True)
class PlotTick:
    """A label of an axis, and its place in pixels."""

    at: float
    label: str


@dataclass(frozen=True)
class PlotPoint:
    """The mark of a day, in pixels."""

    x: float
    y: float
    failed: bool
    colour: str
    label: str


@dataclass(frozen=True)
class PlotDrawing:
    """A plot at one width. Lists of points are texts for SVG; a day without a value interrupts a line."""

    size: str
    width: int
    height: int
    left: int
    right: int
    value_ticks: Sequence[PlotTick]
    day_ticks: Sequence[PlotTick]
    bands: Sequence[str]
    bounds: Sequence[str]
    lines: Sequence[str]
    points: Sequence[PlotPoint]


@dataclass(frozen=True)
class HistoryPlot:
    """A plot at each width. `name` says what it shows, for screen readers."""

    name: str
    drawings: Sequence[PlotDrawing]


def draw_history(name: str, days: Sequence[PlotDay], first: date, last: date, *, as_share: bool = False) -> HistoryPlot:
    """Draw the days from `first` to `last`. With `as_share`, the axis shows percent. `days` are in order."""
    days = [replace(day, value=_finite(day.value), lower=_finite(day.lower), upper=_finite(day.upper)) for day in days]
    return HistoryPlot(name, [_draw(days, first, last, size, as_share) for size in _SIZES])


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _draw(days: Sequence[PlotDay], first: date, last: date, size: tuple[str, int, int], as_share: bool) -> PlotDrawing:
    name, width, labels = size
    right, bottom = width - _RIGHT, _HEIGHT - _BOTTOM
    span = max(1, (last - first).days)
    ticks = _nice_ticks([value for day in days for value in (day.value, day.lower, day.upper) if value is not None])
    low, high = ticks[0], ticks[-1]

    def x(day: date) -> float:
        return round(_LEFT + (right - _LEFT) * (day - first).days / span, 1)

    def y(value: float) -> float:
        return round(bottom - (bottom - _TOP) * (value - low) / (high - low), 1)

    def line(part: Sequence[tuple[date, float]]) -> str:
        return " ".join(f"{x(day)},{y(value)}" for day, value in part)

    bands = []
    for part in _runs([(day, day.lower is not None and day.upper is not None) for day in days]):
        upper = [(day.day, day.upper) for day in part if day.upper is not None]
        lower = [(day.day, day.lower) for day in reversed(part) if day.lower is not None]
        bands.append(line(upper + lower))
    bounds = [
        line([(day.day, bound) for day in part if (bound := getattr(day, side)) is not None])
        for side in ("lower", "upper")
        for part in _runs([(day, getattr(day, side) is not None) for day in days])
    ]
    lines = [
        line([(day.day, day.value) for day in part if day.value is not None])
        for part in _runs([(day, day.value is not None) for day in days])
    ]
    points = [
        PlotPoint(
            x(day.day),
            y(low if day.value is None else day.value),
            day.failed,
            "bad" if day.critical else "warn",
            day.note or f"{day.day}",
        )
        for day in days
        if day.failed or day.value is not None
    ]
    day_ticks = [first + timedelta(round(span * position / (labels - 1))) for position in range(labels)]
    return PlotDrawing(
        name,
        width,
        _HEIGHT,
        _LEFT,
        right,
        [PlotTick(y(tick), _value_label(tick, as_share)) for tick in ticks],
        [PlotTick(min(max(x(day), _LEFT), right - 12), f"{day:%-d %b}") for day in day_ticks],
        bands,
        bounds,
        lines,
        points,
    )


def _value_label(value: float, as_share: bool) -> str:
    if as_share:
        return f"{100 * value:.4g} %"
    return number(value) if abs(value) < _LONGEST_NUMBER else f"{value:.4g}"


def _runs(days: Sequence[tuple[PlotDay, bool]]) -> Iterator[list[PlotDay]]:
    """The uninterrupted runs of days for which the second element is true."""
    run: list[PlotDay] = []
    for day, is_part in days:
        if is_part:
            run.append(day)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _nice_ticks(values: Sequence[float]) -> list[float]:
    """Round numbers that span the values, about five. They include 0 unless the values are far from it."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if low > 0 and low < 0.6 * high:
        low = 0.0
    if high - low <= _ROUNDING * max(abs(low), abs(high)):  # equal, but for rounding
        low, high = low - abs(low) / 2, high + (abs(high) / 2 or 1.0)
    step = 10 ** math.floor(math.log10((high - low) / _TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= _TICKS + 1)
    start = math.floor(low / step)
    return [multiple * step for multiple in range(start, math.ceil(round(high / step, 6)) + 1)]
