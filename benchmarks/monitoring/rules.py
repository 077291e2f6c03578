"""When each rule raises its alarm: ours, the naive one, and Page-Hinkley. All take periods x histories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.monitoring.histories import Counts
from benchmarks.monitoring.mock_days import Values
from recommender.monitoring.drift import CusumSettings, SelfStartingCusum

Alarms = NDArray[np.bool_]
Judge = Callable[[Values, Counts], Alarms]
"""From the values and the number of listeners behind each."""

_LOWER_95 = 1.959964


def cusum(values: Values, listeners: Counts, rule: CusumSettings) -> Alarms:
    """The alarm of this project."""
    watch = SelfStartingCusum(rule, values.shape[1])
    return np.stack([watch.add(row, float(count)).alarm for row, count in zip(values, listeners, strict=True)])


def alike(rule: Judge) -> Judge:
    """The same rule, for which each value is worth as much as any other."""
    return lambda values, listeners: rule(values, np.ones_like(listeners))


def by_values(rule: Callable[[Values], Alarms]) -> Judge:
    """A rule that asks for nothing but the values."""
    return lambda values, listeners: rule(values)


def naive(values: Values, warm_up: int) -> Alarms:
    """Alarm when a value lies below the interval that 95 % of normal values lie in, by those before it."""
    count = np.arange(len(values))[:, None]
    total, squares = (np.cumsum(powers, axis=0) - powers for powers in (values, values**2))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / count
        spread = np.sqrt((squares - total * mean) / (count - 1))
        below: Alarms = (values < mean - _LOWER_95 * spread) & (count >= warm_up)
    return below


@dataclass(frozen=True)
class PageHinkley:
    """Page's test for a fall of a mean (Biometrika 41, 1954), with the settings that libraries start from.

    The sum of what each value lies above the mean of all so far, plus `delta`, is followed; when it is more than
    `threshold` below its highest, that is an alarm. Nothing is said of fewer than `least` values. `fading` is what is
    left of the sum at each step.
    """

    delta: float = 0.005
    threshold: float = 50.0
    least: int = 30
    fading: float = 0.9999

    def __call__(self, values: Values) -> Alarms:
        return self.statistic(values) > self.threshold

    def statistic(self, values: Values) -> Values:
        """How far the sum lies below its highest; zero while nothing is said."""
        total, highest = np.zeros(values.shape[1]), np.full(values.shape[1], -np.inf)
        mean = np.cumsum(values, axis=0) / np.arange(1, len(values) + 1)[:, None]
        fallen = np.zeros(values.shape)
        for number, row in enumerate(values):
            total = self.fading * total + row - mean[number] + self.delta
            highest = np.maximum(highest, total)
            fallen[number] = highest - total
        fallen[: self.least - 1] = 0.0
        return fallen


def first_alarm(alarms: Alarms, ends: Counts) -> Values:
    """The day of each history's first alarm, infinity where there is none. `ends` are the last days of the periods."""
    return np.where(alarms.any(axis=0), ends[alarms.argmax(axis=0)].astype(np.float64), np.inf)
