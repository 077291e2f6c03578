"""The normal range of a daily figure. Trend, weekday, level and spread are robust estimates from the days before it.

- Figures are transformed, so that changes add up. Counts, levels and distances become their logarithm. Shares become
  the arc sine of their square root, whose error does not depend on the share (Anscombe, Biometrika 35, 1948).
- Trend: the median of the slopes between all pairs of days of the same weekday (the seasonal slope of Hirsch, Slack and
  Smith, Water Resources Research 18, 1982).
- Weekday and level: medians after the trend is removed.
- Spread: 1.4826 times the median absolute deviation from this fit, at least the counting error of the figure and 1 %.
- Range: the forecast, plus and minus the spread times a quantile of Student's t. Its degrees of freedom are a sum. The
  typical spread adds ten. The fit adds 37 % of its own, because the median absolute deviation has an efficiency of
  37 % (Rousseeuw and Croux, JASA 88, 1993).

`benchmarks/learned_ranges.py` simulates how often the range warns without a reason, and how often it finds a fault.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

WEEK = 7
# With fewer normal days there is no range.
MIN_DAYS = 14
# Older days are ignored: habits change.
MAX_DAYS = 56
# All figures together may leave their range on this many days a year by chance.
CHANCE_ALARMS_A_YEAR = 3.0

_LEVEL_DAYS = 28
_SMALL_CHANGE = 0.01
# With few days, the measured spread is uncertain. The typical spread is added with the weight of ten independent days.
_PRIOR_FREEDOM = 10.0
_TYPICAL_SPREAD: Mapping[FigureKind, float] = {"count": 0.08, "level": 0.02, "distance": 0.2, "share": 0.0}
_MAD_TO_SIGMA = 1.4826
_MAD_EFFICIENCY = 0.37
_MEDIAN_VARIANCE = math.pi / 2  # the variance of a median divided by the variance of a mean

# count: a number of rows. share: from 0 to 1, of `total` rows. level: any positive figure. distance: from 0; only a
# large distance is unusual.
FigureKind = Literal["count", "share", "level", "distance"]
# Added before the logarithm: half a row, and a distance that is too small to matter.
_OFFSET: Mapping[FigureKind, float] = {"count": 0.5, "level": 1e-9, "distance": 0.005}


@dataclass(frozen=True)
class DailyFigure:
    """A figure of one day. `day` is the ordinal of the date. For a share, `total` is the number of all rows.

    If a person confirmed that the figure is correct and will stay so, `replaces` is the value that was expected.
    """

    day: int
    value: float
    total: float = 0.0
    replaces: float | None = None


@dataclass(frozen=True)
class NormalRange:
    """The expected value and the bounds of a figure, in its unit, learned from this number of `days`."""

    expected: float
    lower: float
    upper: float
    days: int

    def contains(self, value: float) -> bool:
        """Whether the value is normal. The bounds themselves are normal."""
        return self.lower <= value <= self.upper


def normal_range(
    history: Sequence[DailyFigure], day: int, kind: FigureKind, *, figures: int, total: float = 0.0, categories: int = 0
) -> NormalRange | None:
    """Return the range of a figure on a day, or None with fewer than MIN_DAYS normal days before it.

    `history` holds the normal days, oldest first. `day` is an ordinal. `figures` is the number of figures that are
    checked each day; more figures make each range wider. For a share or a distance, `total` is the number of rows of
    the day. For a distance, `categories` is the number of categories of the distribution.
    """
    recent = [figure for figure in history if day - MAX_DAYS <= figure.day < day]
    if len(recent) < MIN_DAYS:
        return None
    days = np.array([figure.day for figure in recent])
    values = np.array(_transformed(recent, kind))
    forecast, spread, forecast_error = _forecast(days, values, day)
    expected_value = _inverse(forecast, kind)
    freedom = _MAD_EFFICIENCY * (len(recent) - WEEK - 1)
    variance = (_PRIOR_FREEDOM * _TYPICAL_SPREAD[kind] ** 2 + freedom * spread**2) / (_PRIOR_FREEDOM + freedom)
    spread = max(math.sqrt(variance), _smallest_spread(expected_value, kind, total))
    margin = spread * forecast_error * _quantile(_PRIOR_FREEDOM + freedom, figures)
    upper = _inverse(forecast + margin, kind)
    if kind == "distance":
        return NormalRange(
            expected_value, 0.0, max(upper, _distance_by_chance(total, categories, figures)), len(recent)
        )
    return NormalRange(expected_value, _inverse(forecast - margin, kind), upper, len(recent))


def _transformed(recent: Sequence[DailyFigure], kind: FigureKind) -> list[float]:
    """Return the transformed values. A confirmed change shifts the values of the days before it."""
    values: list[float] = []
    shift = 0.0
    for figure in reversed(recent):
        transformed = _transform(figure.value, kind, figure.total)
        values.append(transformed + shift)
        if figure.replaces is not None:
            shift += transformed - _transform(figure.replaces, kind, figure.total)
    return values[::-1]


def _forecast(days: NDArray[np.int64], values: NDArray[np.float64], day: int) -> tuple[float, float, float]:
    """Return the forecast for a day, the spread of single days, and the forecast error as a multiple of the spread."""
    detrended = values - _trend(days, values) * (days - day)
    weekdays = days % WEEK
    recent = days >= day - _LEVEL_DAYS
    level, effects = float(np.median(detrended)), np.zeros(WEEK)
    for _ in range(2):
        for weekday in range(WEEK):
            weekday_values = detrended[weekdays == weekday]
            effects[weekday] = np.median(weekday_values) - level if len(weekday_values) > 1 else 0.0
        adjusted = detrended - effects[weekdays]
        level = float(np.median(adjusted[recent] if np.count_nonzero(recent) >= WEEK else adjusted))
    spread = _MAD_TO_SIGMA * float(np.median(np.abs(detrended - effects[weekdays] - level)))
    fit_correction = math.sqrt(len(days) / max(len(days) - WEEK - 1, 1))
    same_weekdays = max(2, int(np.count_nonzero(weekdays == day % WEEK)))
    forecast_error = math.sqrt(1 + _MEDIAN_VARIANCE * (1 / same_weekdays + 1 / min(len(days), _LEVEL_DAYS)))
    return level + float(effects[day % WEEK]), spread * fit_correction, forecast_error


def _trend(days: NDArray[np.int64], values: NDArray[np.float64]) -> float:
    days_apart = days[:, None] - days[None, :]
    pairs = (days_apart > 0) & (days_apart % WEEK == 0)
    slopes = (values[:, None] - values[None, :])[pairs] / days_apart[pairs]
    return float(np.median(slopes)) if len(slopes) else 0.0


def _quantile(freedom: float, figures: int) -> float:
    from scipy.special import stdtrit  # importing it takes a third of a second

    return float(stdtrit(freedom, 1 - CHANCE_ALARMS_A_YEAR / 365 / figures / 2))


def _distance_by_chance(rows: float, categories: int, figures: int) -> float:
    """Return the Jensen-Shannon divergence in bits that independent rows rarely exceed.

    8 ln 2 times the rows times the divergence follows a chi-square distribution (Lin, 1991, by the second-order
    approximation of relative entropy), whose quantile is approximated (Wilson and Hilferty, PNAS 17, 1931).
    """
    freedom = categories - 1
    if freedom < 1 or rows <= 0:
        return 0.0
    deviate = NormalDist().inv_cdf(1 - CHANCE_ALARMS_A_YEAR / 365 / figures / 2)
    scale = 2 / (9 * freedom)
    return float(freedom * (1 - scale + deviate * math.sqrt(scale)) ** 3 / (8 * math.log(2) * rows))


def _transform(value: float, kind: FigureKind, total: float) -> float:
    if kind == "share":
        return math.asin(math.sqrt((value * total + 3 / 8) / (total + 3 / 4)))
    return math.log(max(value, 0.0) + _OFFSET[kind])


def _inverse(transformed: float, kind: FigureKind) -> float:
    if kind == "share":
        return math.sin(min(max(transformed, 0.0), math.pi / 2)) ** 2
    return max(0.0, math.exp(transformed) - _OFFSET[kind])


def _smallest_spread(value: float, kind: FigureKind, total: float) -> float:
    """The standard error that independent rows alone cause (Poisson or binomial), on the transformed scale.

    For kinds without such an error, a change that is too small to matter.
    """
    if kind == "count":
        return max(1 / math.sqrt(value + 1), _SMALL_CHANGE)
    if kind == "share":
        return 1 / math.sqrt(4 * total + 2)
    return 0.1 if kind == "distance" else _SMALL_CHANGE
