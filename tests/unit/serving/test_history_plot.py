"""The plot of a figure by day: gaps, bounds, marks of failures, and axes that hold every value."""

from __future__ import annotations

import math
from datetime import date, timedelta

import pytest

from serving.console.history_plot import PlotDay, draw_history

FIRST, LAST = date(2026, 8, 25), date(2026, 11, 22)


def day(number: int, value: float | None, **fields: object) -> PlotDay:
    return PlotDay(FIRST + timedelta(number), value, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values",
    [
        [0.0],
        [5.0, 5.0],
        [-3.0, 7.0],
        [0.0001, 0.00012],
        [1e9, 1.01e9],
        [0.0, 1e-9],
        [None],
        [],
        [14175.342103824005, 14175.342103824007],
    ],
)
def test_every_point_lies_inside_the_plot(values: list[float | None]) -> None:
    plot = draw_history("plot", [day(number, value) for number, value in enumerate(values)], FIRST, LAST)
    for drawing in plot.drawings:
        assert len(drawing.points) == sum(value is not None for value in values)
        for point in drawing.points:
            assert drawing.left <= point.x <= drawing.right
            assert 0 <= point.y <= drawing.height
        labels = [tick.label for tick in drawing.value_ticks]
        assert 2 <= len(labels) <= 8 and len(set(labels)) == len(labels)


def test_day_without_a_value_interrupts_the_line_and_the_range() -> None:
    days = [
        day(number, None if number == 2 else 3.0, lower=1.0, upper=None if number == 2 else 5.0) for number in range(5)
    ]
    drawing = draw_history("plot", days, FIRST, LAST).drawings[0]
    assert [len(line.split()) for line in drawing.lines] == [2, 2]
    assert [len(band.split()) for band in drawing.bands] == [4, 4]


def test_failed_day_without_a_value_is_marked() -> None:
    drawing = draw_history("plot", [day(0, 1.0), day(1, None, failed=True, critical=True)], FIRST, LAST).drawings[0]
    assert [(point.failed, point.colour) for point in drawing.points] == [(False, "warn"), (True, "bad")]


def test_thousands_are_labelled_without_exponents() -> None:
    drawing = draw_history("plot", [day(0, 12_400.0), day(1, 2_000.0)], FIRST, LAST).drawings[0]
    assert [tick.label for tick in drawing.value_ticks] == ["0", "5,000", "10,000", "15,000"]


def test_shares_are_labelled_in_percent() -> None:
    drawing = draw_history("plot", [day(0, 0.02), day(1, 0.05)], FIRST, LAST, as_share=True).drawings[0]
    assert [tick.label for tick in drawing.value_ticks][:2] == ["0 %", "1 %"]


def test_value_that_is_not_finite_is_no_point() -> None:
    drawing = draw_history("plot", [day(0, math.nan), day(1, math.inf), day(2, 1.0)], FIRST, LAST).drawings[0]
    assert len(drawing.points) == 1
