"""Whether a quality that is measured day by day has become worse, or had a few bad days.

A self-starting one-sided CUSUM: every value is compared with the mean and spread of those before it, so no baseline
has to be known beforehand (Hawkins and Olwell, Cumulative Sum Charts and Charting for Quality Improvement, 1998,
chapter 7).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

Values = NDArray[np.float64]

# One bad value alone never raises an alarm: it counts as so many standard deviations at most.
_FURTHEST = 4.0


@dataclass(frozen=True)
class CusumSettings:
    """When a fall is an alarm. `k` and `h` are in standard deviations of one value.

    `k` is the fall that is put up with day after day, half of the smallest one worth knowing; `h` is how much more
    than that may come together before it is an alarm. The first `warm_up` values only tell what is normal.
    """

    k: float = 0.5
    h: float = 5.0
    warm_up: int = 14

    def __post_init__(self) -> None:
        if self.warm_up < 3:
            raise ValueError(f"{self.warm_up} values do not tell what is usual; a warm-up takes 3 or more")


@dataclass(frozen=True, eq=False)
class CusumResult:
    """What one value says, for each history: how far it lies from the `baseline` in standard deviations (`deviation`),
    how much fell together so far (`statistic`), and whether that is an alarm. NaN where nothing is known yet."""

    baseline: Values
    deviation: Values
    statistic: Values
    alarm: NDArray[np.bool_]


class SelfStartingCusum:
    """The state of one or of many histories, each a value at a time.

    A value x of weight w, after n others of weights W together with weighted mean m, is
    u = Phi^-1(T_{n-1}((x - m) / (s sqrt(1/w + 1/W)))) with s^2 = sum of w_i (x_i - m)^2 / (n - 1), which is standard
    normal while nothing changes, whatever the true mean and spread, for means of w draws each; the statistic is
    C = max(0, C - u - k), and above h it is an alarm. What lies more than 4 deviations away is taken as lying there, in
    u and in what is learned of it.
    """

    def __init__(self, rule: CusumSettings, histories: int = 1) -> None:
        self.rule = rule
        self._count = 0
        self._weight = 0.0
        self._mean = np.zeros(histories)
        self._squares = np.zeros(histories)
        self._statistic = np.zeros(histories)

    def add(self, values: ArrayLike, weight: float = 1.0) -> CusumResult:
        """Take the next value of each history, a mean of `weight` draws. Raises ValueError when one is not finite."""
        given = np.atleast_1d(np.asarray(values, np.float64))
        if not np.isfinite(given).all() or not 0 < weight < np.inf:
            raise ValueError("a value of quality, or its weight, is not a finite number")
        baseline = self._mean.copy() if self._count else np.full(len(given), np.nan)
        deviation, taken = self._compare(given, weight)
        if self._count >= self.rule.warm_up:
            self._statistic = np.maximum(0.0, self._statistic - deviation - self.rule.k)
        self._learn(taken, weight)
        return CusumResult(baseline, deviation, self._statistic.copy(), self._statistic > self.rule.h)

    def reset_statistic(self) -> None:
        """Count from zero again; what is usual stays known."""
        self._statistic = np.zeros_like(self._statistic)

    def _compare(self, given: Values, weight: float) -> tuple[Values, Values]:
        """Each value in standard deviations, and the value itself, both no further away than _FURTHEST."""
        if self._count < 2:
            return np.full(len(given), np.nan), given
        spread = np.sqrt(self._squares / (self._count - 1) * (1 / weight + 1 / self._weight))
        same = np.isclose(given, self._mean, rtol=1e-12, atol=1e-12)
        apart = given - self._mean
        with np.errstate(divide="ignore", invalid="ignore"):
            scaled = np.where(same, 0.0, apart / spread)  # without any spread, what differs lies infinitely far away
        # By its distance below or above the mean, whichever tail is exact.
        tail = stdtr(self._count - 1, -np.abs(scaled))
        deviation = np.clip(np.sign(scaled) * -ndtri(tail), -_FURTHEST, _FURTHEST)
        furthest = -spread * _student_of(-_FURTHEST, self._count - 1)
        taken = np.where(spread > 0, self._mean + np.clip(apart, -furthest, furthest), given)
        return deviation, taken

    def _learn(self, values: Values, weight: float) -> None:
        self._count += 1
        self._weight += weight
        step = values - self._mean
        self._mean = self._mean + step * weight / self._weight
        self._squares = self._squares + weight * step * (values - self._mean)


def _student_of(deviation: float, freedom: int) -> float:
    """Which value of Student's t lies as far out as so many standard deviations of the normal distribution."""
    return float(stdtrit(freedom, ndtr(deviation)))
