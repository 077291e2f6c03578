"""Detection rules: this project's CUSUM, a naive rule, and Page-Hinkley. All take arrays of periods x histories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.monitoring.histories import Counts
from benchmarks.monitoring.mock_days import Values
from recommender.monitoring.drift import CusumSettings, SelfStartingCusum

Alarms = NDArray[np.bool_]
DetectionRule = Callable[[Values, Counts], Alarms]
"""From the values and the number of users behind each."""

_LOWER_95 = 1.959964


def cusum(values: Values, users: Counts, rule: CusumSettings) -> Alarms:
    """The detector of this project."""
    detector = SelfStartingCusum(rule, values.shape[1])
    return np.stack([detector.add(row, float(count)).alarm for row, count in zip(values, users, strict=True)])


def ignoring_users(rule: DetectionRule) -> DetectionRule:
    """The same rule with equal weight for all values."""
    return lambda values, users: rule(values, np.ones_like(users))


def by_values(rule: Callable[[Values], Alarms]) -> DetectionRule:
    """A rule that needs only the values."""
    return lambda values, users: rule(values)


def naive_rule(values: Values, warm_up: int) -> Alarms:
    """Alarm when a value lies below the interval of 95 % of normal values, estimated from the values before it."""
    count = np.arange(len(values))[:, None]
    total, squares = (np.cumsum(powers, axis=0) - powers for powers in (values, values**2))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / count
        spread = np.sqrt((squares - total * mean) / (count - 1))
        below: Alarms = (values < mean - _LOWER_95 * spread) & (count >= warm_up)
    return below


@dataclass(frozen=True)
class PageHinkley:
    """Page's test for a fall of a mean (Biometrika 41, 1954), with the usual default settings of libraries.

    It sums the difference of each value to the mean so far, plus `delta`. The sum is multiplied by `fading` at each
    step. A sum more than `threshold` below its maximum is an alarm. The first `least` - 1 values raise none.
    """

    delta: float = 0.005
    threshold: float = 50.0
    least: int = 30
    fading: float = 0.9999

    def __call__(self, values: Values) -> Alarms:
        return self.statistic(values) > self.threshold

    def statistic(self, values: Values) -> Values:
        """How far the sum lies below its maximum. Zero for the first `least` - 1 values."""
        total, highest = np.zeros(values.shape[1]), np.full(values.shape[1], -np.inf)
        mean = np.cumsum(values, axis=0) / np.arange(1, len(values) + 1)[:, None]
        fall = np.zeros(values.shape)
        for number, row in enumerate(values):
            total = self.fading * total + row - mean[number] + self.delta
            highest = np.maximum(highest, total)
            fall[number] = highest - total
        fall[: self.least - 1] = 0.0
        return fall


def first_alarm(alarms: Alarms, ends: Counts) -> Values:
    """The day of each history's first alarm; infinity where there is none. `ends` are the last days of the periods."""
    return np.where(alarms.any(axis=0), ends[alarms.argmax(axis=0)].astype(np.float64), np.inf)
