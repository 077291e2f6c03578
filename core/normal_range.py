"""The normal range of a daily figure, learned from the days before it: trend, weekday, level and spread, all robust.

- Figures are transformed, so that changes add up: the logarithm of counts, levels and distances, and of shares
  the arc sine of the square root, whose error does not depend on the share (Anscombe, Biometrika 35, 1948).
- Trend: the median of the slopes between all pairs of days of the same weekday (the seasonal slope of Hirsch, Slack and
  Smith, Water Resources Research 18, 1982).
- Weekday and level: medians after the trend is removed.
- Spread: 1.4826 times the median absolute deviation from this fit, at least the counting error of the figure and 1 %.
- Range: the forecast, plus and minus the spread times a quantile of Student's t. The degrees of freedom are those of a
  typical spread, which counts like ten days, and 37 % of those of the fit: the efficiency of the median absolute
  deviation (Rousseeuw and Croux, JASA 88, 1993).

`benchmarks/learned_ranges.py` simulates how often it warns without a reason, and how often it finds a fault.
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
# With few days the spread is uncertain. It counts as if ten independent days with this spread had been seen before.
_PRIOR_FREEDOM = 10.0
_TYPICAL_SPREAD: Mapping[FigureKind, float] = {"count": 0.08, "level": 0.02, "distance": 0.2, "share": 0.0}
_MAD_TO_SIGMA = 1.4826
_MAD_EFFICIENCY = 0.37
_SIZE_OF_MEDIAN_ERROR = math.pi / 2  # the variance of a median, in variances of a mean

# count: a number of rows. share: from 0 to 1, of `total` rows. level: any positive figure. distance: from 0; only a
# large distance is unusual.
FigureKind = Literal["count", "share", "level", "distance"]
# Added before the logarithm: half a row, and a distance that is too small to matter.
_ADDED: Mapping[FigureKind, float] = {"count": 0.5, "level": 1e-9, "distance": 0.005}


@dataclass(frozen=True)
class DailyFigure:
    """A figure of one day, given as its ordinal. If the figure is a share, `total` is the number of all rows.

    `replaces` is the value that was expected, if a person confirmed that the figure is correct and will stay so.
    """

    day: int
    value: float
    total: float = 0.0
    replaces: float | None = None


@dataclass(frozen=True)
class NormalRange:
    """The range of a figure, in its own unit, and the number of days from which it is learned."""

    expected: float
    lower: float
    upper: float
    days: int

    def contains(self, value: float) -> bool:
        """Whether the value is normal. The bounds are."""
        return self.lower <= value <= self.upper


def normal_range(
    history: Sequence[DailyFigure], day: int, kind: FigureKind, *, figures: int, total: float = 0.0, categories: int = 0
) -> NormalRange | None:
    """Return the range of a figure on a day, or None with fewer than MIN_DAYS normal days before it.

    `history` holds the normal days, oldest first. `figures` is the number of figures that are checked each day: the
    more, the wider is each range. `total` is the number of rows of the day, for a share or a distance; `categories` the
    number of categories of the distribution.
    """
    recent = [figure for figure in history if day - MAX_DAYS <= figure.day < day]
    if len(recent) < MIN_DAYS:
        return None
    days = np.array([figure.day for figure in recent])
    values = np.array(_transformed(recent, kind))
    expected, spread, error = _forecast(days, values, day)
    typical = _inverse(expected, kind)
    freedom = _MAD_EFFICIENCY * (len(recent) - WEEK - 1)
    variance = (_PRIOR_FREEDOM * _TYPICAL_SPREAD[kind] ** 2 + freedom * spread**2) / (_PRIOR_FREEDOM + freedom)
    spread = max(math.sqrt(variance), _smallest_spread(typical, kind, total))
    margin = spread * error * _quantile(_PRIOR_FREEDOM + freedom, figures)
    upper = _inverse(expected + margin, kind)
    if kind == "distance":
        return NormalRange(typical, 0.0, max(upper, _distance_by_chance(total, categories, figures)), len(recent))
    return NormalRange(typical, _inverse(expected - margin, kind), upper, len(recent))


def _transformed(recent: Sequence[DailyFigure], kind: FigureKind) -> list[float]:
    """Return the transformed values. Days before a confirmed change are moved by it."""
    values: list[float] = []
    moved = 0.0
    for figure in reversed(recent):
        transformed = _transform(figure.value, kind, figure.total)
        values.append(transformed + moved)
        if figure.replaces is not None:
            moved += transformed - _transform(figure.replaces, kind, figure.total)
    return values[::-1]


def _forecast(days: NDArray[np.int64], values: NDArray[np.float64], day: int) -> tuple[float, float, float]:
    """Return the forecast for a day, the spread of single days, and the error of a forecast in spreads."""
    detrended = values - _trend(days, values) * (days - day)
    weekdays = days % WEEK
    recent = days >= day - _LEVEL_DAYS
    level, effects = float(np.median(detrended)), np.zeros(WEEK)
    for _ in range(2):
        for weekday in range(WEEK):
            of_weekday = detrended[weekdays == weekday]
            effects[weekday] = np.median(of_weekday) - level if len(of_weekday) > 1 else 0.0
        adjusted = detrended - effects[weekdays]
        level = float(np.median(adjusted[recent] if np.count_nonzero(recent) >= WEEK else adjusted))
    spread = _MAD_TO_SIGMA * float(np.median(np.abs(detrended - effects[weekdays] - level)))
    fitted = math.sqrt(len(days) / max(len(days) - WEEK - 1, 1))
    same_weekdays = max(2, int(np.count_nonzero(weekdays == day % WEEK)))
    of_forecast = math.sqrt(1 + _SIZE_OF_MEDIAN_ERROR * (1 / same_weekdays + 1 / min(len(days), _LEVEL_DAYS)))
    return level + float(effects[day % WEEK]), spread * fitted, of_forecast


def _trend(days: NDArray[np.int64], values: NDArray[np.float64]) -> float:
    apart = days[:, None] - days[None, :]
    pairs = (apart > 0) & (apart % WEEK == 0)
    slopes = (values[:, None] - values[None, :])[pairs] / apart[pairs]
    return float(np.median(slopes)) if len(slopes) else 0.0


def _quantile(freedom: float, figures: int) -> float:
    from scipy.special import stdtrit  # a third of a second

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
    return math.log(max(value, 0.0) + _ADDED[kind])


def _inverse(transformed: float, kind: FigureKind) -> float:
    if kind == "share":
        return math.sin(min(max(transformed, 0.0), math.pi / 2)) ** 2
    return max(0.0, math.exp(transformed) - _ADDED[kind])


def _smallest_spread(value: float, kind: FigureKind, total: float) -> float:
    """The standard error of a transformed figure of independent rows (Poisson, binomial), or a small change."""
    if kind == "count":
        return max(1 / math.sqrt(value + 1), _SMALL_CHANGE)
    if kind == "share":
        return 1 / math.sqrt(4 * total + 2)
    return 0.1 if kind == "distance" else _SMALL_CHANGE
