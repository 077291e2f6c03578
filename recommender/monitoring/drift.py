"""Detect a lasting fall of a daily quality metric with a self-starting one-sided CUSUM.

Each value is compared with the mean and spread of the earlier values, so no baseline is needed in advance (Hawkins and
Olwell, Cumulative Sum Charts and Charting for Quality Improvement, 1998, chapter 7).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

Values = NDArray[np.float64]

# Deviations are clipped to this many standard deviations, so that one bad value alone never raises an alarm.
_MAX_DEVIATION = 4.0


@dataclass(frozen=True)
class CusumSettings:
    """The parameters of the CUSUM. `k` and `h` are in standard deviations of one value.

    `k` is the fall per value that is tolerated: half of the smallest fall to detect. `h` is the alarm threshold of the
    cumulative fall beyond `k`. The first `warm_up` values only estimate the baseline.
    """

    k: float = 0.5
    h: float = 5.0
    warm_up: int = 14

    def __post_init__(self) -> None:
        if self.warm_up < 3:
            raise ValueError(f"a warm-up of {self.warm_up} values is too short; use 3 or more")


@dataclass(frozen=True, eq=False)
class CusumResult:
    """The result of adding one value to each history. Every array has the shape (histories,).

    `baseline` is the mean of the earlier values; NaN for the first value. `deviation` is the distance from it in
    standard deviations; NaN for the first two values. `statistic` is the cumulative fall in standard deviations; 0
    during the warm-up. `alarm` is true if the statistic is above `h`.
    """

    baseline: Values
    deviation: Values
    statistic: Values
    alarm: NDArray[np.bool_]


class SelfStartingCusum:
    """The CUSUM state of one or more histories. Values are added one at a time.

    Let x be a value of weight w, after n values with total weight W and weighted mean m. Its deviation is
    u = Phi^-1(T_{n-1}((x - m) / (s sqrt(1/w + 1/W)))) with s^2 = sum of w_i (x_i - m)^2 / (n - 1). Without a change, u
    is standard normal for means of w draws, whatever the true mean and spread. The statistic is C = max(0, C - u - k);
    a value above h is an alarm. Values beyond 4 deviations are clipped, in u and in the baseline.
    """

    def __init__(self, settings: CusumSettings, histories: int = 1) -> None:
        self.settings = settings
        self._count = 0
        self._weight = 0.0
        self._mean = np.zeros(histories)
        self._squares = np.zeros(histories)
        self._statistic = np.zeros(histories)

    def add(self, values: ArrayLike, weight: float = 1.0) -> CusumResult:
        """Add the next value of each history, a mean of `weight` draws. `values` has the shape (histories,).

        Raises ValueError if a value is not finite, or if the weight is not positive and finite.
        """
        new_values = np.atleast_1d(np.asarray(values, np.float64))
        if not np.isfinite(new_values).all():
            raise ValueError("a value is not a finite number")
        if not 0 < weight < np.inf:
            raise ValueError(f"the weight must be positive and finite, not {weight}")
        baseline = self._mean.copy() if self._count else np.full(len(new_values), np.nan)
        deviation, clipped = self._compare(new_values, weight)
        if self._count >= self.settings.warm_up:
            self._statistic = np.maximum(0.0, self._statistic - deviation - self.settings.k)
        self._update_baseline(clipped, weight)
        return CusumResult(baseline, deviation, self._statistic.copy(), self._statistic > self.settings.h)

    def reset_statistic(self) -> None:
        """Set the statistic to zero; keep the baseline."""
        self._statistic = np.zeros_like(self._statistic)

    def _compare(self, values: Values, weight: float) -> tuple[Values, Values]:
        """Return each value in standard deviations, and the value itself, both clipped at _MAX_DEVIATION."""
        if self._count < 2:
            return np.full(len(values), np.nan), values
        spread = np.sqrt(self._squares / (self._count - 1) * (1 / weight + 1 / self._weight))
        equals_mean = np.isclose(values, self._mean, rtol=1e-12, atol=1e-12)
        difference = values - self._mean
        with np.errstate(divide="ignore", invalid="ignore"):
            scaled = np.where(equals_mean, 0.0, difference / spread)  # infinite if the spread is 0
        # Use the lower tail for both signs: it is numerically exact, the upper tail is not.
        tail = stdtr(self._count - 1, -np.abs(scaled))
        deviation = np.clip(np.sign(scaled) * -ndtri(tail), -_MAX_DEVIATION, _MAX_DEVIATION)
        max_difference = -spread * _student_quantile(-_MAX_DEVIATION, self._count - 1)
        limited = self._mean + np.clip(difference, -max_difference, max_difference)
        return deviation, np.where(spread > 0, limited, values)

    def _update_baseline(self, values: Values, weight: float) -> None:
        self._count += 1
        self._weight += weight
        step = values - self._mean
        self._mean = self._mean + step * weight / self._weight
        self._squares = self._squares + weight * step * (values - self._mean)


def _student_quantile(deviation: float, degrees_of_freedom: int) -> float:
    """The quantile of Student's t with the same tail probability as a deviation of the normal distribution."""
    return float(stdtrit(degrees_of_freedom, ndtr(deviation)))
