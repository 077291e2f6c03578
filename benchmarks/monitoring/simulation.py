"""How often a rule is wrong where nothing changed, and how soon it finds a drop."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from benchmarks.monitoring.histories import Counts, Source, merge_days
from benchmarks.monitoring.mock_days import Values
from benchmarks.monitoring.rules import Judge, first_alarm

QUARTER, YEAR = 90, 365
LOOKED = 60
"""Days after a drop in which it has to be found."""


@dataclass(frozen=True, eq=False)
class Histories:
    """Where histories come from, how many listeners a day they have, and how many histories are made.

    `listeners` may also be those of each day of a year. Days are merged until they have `at_least` so many listeners,
    as in production.
    """

    source: Source
    listeners: int | Counts
    count: int
    seed: int
    at_least: int = 200

    @cached_property
    def quiet(self) -> Values:
        """A year in which nothing changes."""
        return self.source.draw(np.ones(YEAR), self._of_days(YEAR), self.count, self.seed)

    @cached_property
    def quiet_quarter(self) -> Values:
        """A quarter in which nothing changes, drawn for itself: much sooner than a year."""
        return self.source.draw(np.ones(QUARTER), self._of_days(QUARTER), self.count, self.seed)

    def falling(self, share: float, day: int) -> Values:
        """Each listener's value is zero with this chance from this day on, the first being 1; until it is found."""
        kept = np.ones(day - 1 + LOOKED)
        kept[day - 1 :] = 1 - share
        return self.source.draw(kept, self._of_days(len(kept)), self.count, self.seed + 1)

    def alarms(self, values: Values, judge: Judge) -> Values:
        """The day of each history's first alarm, from 1; infinity where there is none."""
        merged, listeners, ends = merge_days(values, self._of_days(len(values)), self.at_least)
        return first_alarm(judge(merged, listeners), ends)

    def false_alarms(self, judge: Judge, days: int = YEAR) -> Values:
        """The day of the first alarm where nothing changed."""
        return self.alarms(self.quiet[:days], judge)

    def find(self, judge: Judge, share: float, day: int) -> Found:
        """What becomes of a drop on that day."""
        return Found.of(self.alarms(self.falling(share, day), judge), day)

    def _of_days(self, days: int) -> Counts:
        return np.broadcast_to(self.listeners, YEAR)[:days]


@dataclass(frozen=True, eq=False)
class Found:
    """`too_early` is the share of histories with an alarm before the drop; `delays` are of the others: the days with
    the drop until the alarm, both the first one and the alarm's own included; infinity where it was not found."""

    too_early: float
    delays: Values

    @classmethod
    def of(cls, alarms: Values, day: int) -> Found:
        """From the day of each history's first alarm, and the first day of the drop."""
        in_time = alarms >= day
        return cls(float(1 - in_time.mean()), alarms[in_time] - day + 1)

    @property
    def share(self) -> float:
        """Of those without an alarm before: found within LOOKED days."""
        return float((self.delays <= LOOKED).mean()) if len(self.delays) else float("nan")

    def within(self, part: float = 0.5) -> float:
        """The days within which so many of them are found; infinity where fewer are."""
        if not len(self.delays):
            return float("inf")
        return float(np.quantile(self.delays, part, method="inverted_cdf"))


def share_by(alarms: Values, days: int) -> float:
    """The share of histories with an alarm within the first so many days."""
    return float((alarms <= days).mean())
