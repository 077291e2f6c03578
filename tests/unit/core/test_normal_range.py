"""The normal range of a daily figure."""

from __future__ import annotations

import math

import numpy as np
import pytest

from core.normal_range import CHANCE_ALARMS_A_YEAR, MIN_DAYS, DailyFigure, FigureKind, normal_range

FIGURES = 24
TODAY = 200


def weekly(days: int, *, noise: float = 0.03, growth: float = 0.0, seed: int = 1) -> list[DailyFigure]:
    """Counts around 4,000 that are a third higher on two days of the week."""
    random = np.random.default_rng(seed)
    return [
        DailyFigure(day, 4_000 * (4 / 3 if day % 7 > 4 else 1) * math.exp(growth * day + random.normal(0, noise)))
        for day in range(TODAY - days, TODAY)
    ]


def range_of(
    history: list[DailyFigure], kind: FigureKind = "count", day: int = TODAY, total: float = 0.0
) -> tuple[float, ...]:
    normal = normal_range(history, day, kind, figures=FIGURES, total=total)
    assert normal is not None
    return normal.lower, normal.expected, normal.upper


def test_range_needs_fourteen_days() -> None:
    assert normal_range(weekly(MIN_DAYS - 1), TODAY, "count", figures=FIGURES) is None
    assert normal_range(weekly(MIN_DAYS), TODAY, "count", figures=FIGURES) is not None


def test_range_follows_the_weekday() -> None:
    quiet, busy = (range_of(weekly(42), day=day) for day in (TODAY, TODAY + 2))
    assert (TODAY % 7 > 4, (TODAY + 2) % 7 > 4) == (False, True)
    assert quiet[1] == pytest.approx(4_000, rel=0.03)
    assert busy[1] == pytest.approx(4_000 * 4 / 3, rel=0.03)
    assert quiet[2] < busy[1]


def test_range_follows_the_trend() -> None:
    growing = weekly(56, growth=0.005)
    _, expected, _ = range_of(growing)
    assert expected == pytest.approx(4_000 * math.exp(0.005 * TODAY), rel=0.03)


def test_one_outlier_does_not_widen_the_range() -> None:
    history = weekly(42)
    disturbed = [*history[:-3], DailyFigure(history[-3].day, 40_000), *history[-2:]]
    assert range_of(disturbed) == pytest.approx(range_of(history), rel=0.05)


def test_range_is_narrower_with_more_days_and_wider_with_more_figures() -> None:
    short_history, long_history = range_of(weekly(14)), range_of(weekly(56))
    assert math.log(short_history[2] / short_history[0]) > math.log(long_history[2] / long_history[0])
    single_figure = normal_range(weekly(56), TODAY, "count", figures=1)
    assert single_figure is not None and single_figure.upper < long_history[2]


def test_constant_figure_may_change_a_little() -> None:
    constant = [DailyFigure(day, 500.0) for day in range(TODAY - 30, TODAY)]
    lower, expected, upper = range_of(constant, "level")
    assert expected == pytest.approx(500)
    assert 450 < lower < 495 and 505 < upper < 550


@pytest.mark.parametrize("total", [1_000, 100_000])
def test_share_of_zero_allows_a_few_rows(total: int) -> None:
    zero_days = [DailyFigure(day, 0.0, total) for day in range(TODAY - 30, TODAY)]
    lower, _, upper = range_of(zero_days, "share", total=total)
    assert lower == 0
    assert 1 < upper * total < 12


def test_distance_has_no_lower_bound() -> None:
    random = np.random.default_rng(1)
    history = [DailyFigure(day, float(random.uniform(0.001, 0.003))) for day in range(TODAY - 30, TODAY)]
    lower, _, upper = range_of(history, "distance")
    assert lower == 0
    assert 0.003 < upper < 0.03


@pytest.mark.parametrize("rows", [25, 400])
def test_distance_by_chance_is_normal(rows: int) -> None:
    """The share of days beyond it, where the only difference is chance, is about the intended one."""
    random = np.random.default_rng(1)
    shares = random.dirichlet(np.full(12, 5.0))
    history = [DailyFigure(day, 0.0) for day in range(TODAY - 30, TODAY)]
    normal = normal_range(history, TODAY, "distance", figures=1, total=rows, categories=12)
    assert normal is not None
    days = random.multinomial(rows, shares, 4_000) / rows
    middle = (days + shares) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        distances = np.nansum(days * np.log2(days / middle) + shares * np.log2(shares / middle), axis=1) / 2
    assert np.mean(distances > normal.upper) < 3 * CHANCE_ALARMS_A_YEAR / 365


def test_confirmed_change_moves_the_days_before() -> None:
    history = weekly(42)
    doubled = DailyFigure(TODAY, 2 * history[-7].value, replaces=history[-7].value)
    _, expected, _ = range_of([*history, doubled], day=TODAY + 1)
    _, before, _ = range_of(history, day=TODAY + 1)
    assert expected == pytest.approx(2 * before, rel=0.03)
