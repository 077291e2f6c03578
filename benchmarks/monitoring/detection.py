"""Detection rules (CUSUM, a naive rule, Page-Hinkley), their false alarms, and their delays after a drop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmarks.monitoring.histories import Counts, HistorySource, merge_days
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


QUARTER, YEAR = 90, 365
DEADLINE = 60
"""Days after a drop within which it has to be detected."""


@dataclass(frozen=True, eq=False)
class Histories:
    """So many histories of a source with so many users a day, or users on each day of a year.

    Days are merged until they have `at_least` so many users, as in production.
    """

    source: HistorySource
    users: int | Counts
    count: int
    seed: int
    at_least: int = 200

    @cached_property
    def quiet(self) -> Values:
        """A year in which nothing changes."""
        return self._draw_quiet(YEAR)

    @cached_property
    def quiet_quarter(self) -> Values:
        """A quarter in which nothing changes, drawn on its own: much faster than a year."""
        return self._draw_quiet(QUARTER)

    def falling(self, share: float, day: int) -> Values:
        """Days until the deadline of a drop. From `day` on, each user's value is zero with this probability."""
        survival = np.ones(day - 1 + DEADLINE)
        survival[day - 1 :] = 1 - share
        return self.source.draw(survival, self._users_of_days(len(survival)), self.count, self.seed + 1)

    def alarms(self, values: Values, rule: DetectionRule) -> Values:
        """The day of each history's first alarm, from 1; infinity where there is none."""
        means, users, ends = merge_days(values, self._users_of_days(len(values)), self.at_least)
        return first_alarm(rule(means, users), ends)

    def false_alarms(self, rule: DetectionRule, days: int = YEAR) -> Values:
        """The day of the first alarm while nothing changes."""
        return self.alarms(self.quiet[:days], rule)

    def detect(self, rule: DetectionRule, share: float, day: int) -> Detection:
        """How the rule detects a drop on that day."""
        return Detection.of(self.alarms(self.falling(share, day), rule), day)

    def _draw_quiet(self, days: int) -> Values:
        return self.source.draw(np.ones(days), self._users_of_days(days), self.count, self.seed)

    def _users_of_days(self, days: int) -> Counts:
        return np.broadcast_to(self.users, YEAR)[:days]


@dataclass(frozen=True, eq=False)
class Detection:
    """How a drop was detected.

    `too_early` is the share of histories with an alarm before the drop. `delays` are the days from the first day of
    the drop to the alarm, both included, of the other histories; infinity where there was no alarm.
    """

    too_early: float
    delays: Values

    @classmethod
    def of(cls, alarms: Values, day: int) -> Detection:
        """From the day of each history's first alarm, and the first day of the drop."""
        in_time = alarms >= day
        return cls(float(1 - in_time.mean()), alarms[in_time] - day + 1)

    @property
    def share(self) -> float:
        """The share of these histories that were detected within DEADLINE days."""
        return float((self.delays <= DEADLINE).mean()) if len(self.delays) else float("nan")

    def within(self, share: float = 0.5) -> float:
        """The days within which this share of them is detected; infinity where fewer are."""
        if not len(self.delays):
            return float("inf")
        return float(np.quantile(self.delays, share, method="inverted_cdf"))


def share_within(alarms: Values, days: int) -> float:
    """The share of histories with an alarm within the first so many days."""
    return float((alarms <= days).mean())
