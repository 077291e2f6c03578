"""False alarms of a rule while nothing changes, and its delay until it detects a drop."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from benchmarks.monitoring.histories import Counts, HistorySource, merge_days
from benchmarks.monitoring.mock_days import Values
from benchmarks.monitoring.rules import DetectionRule, first_alarm

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
