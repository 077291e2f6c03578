"""Simulated histories of daily quality, detection rules, their false alarms, and their delays after a drop.

Histories are arrays of days x histories. Each value is the mean over the users of a day. `users` is the number of users
of every day, or one number per day.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmarks.monitoring.mock_days import Days, Values
from recommender.monitoring.drift import CusumSettings, SelfStartingCusum

Counts = NDArray[np.int64]
"""Numbers of users, one for each day or for each value."""

WEEK = 7
WEEKEND = (5, 6)


@dataclass(frozen=True)
class NormalNoise:
    """Means around 1 with normal noise, as wide as users with this coefficient of variation make it.

    `autocorrelation` is the correlation of one day's noise with the next day's. Saturdays and Sundays are lower by the
    share `weekend`. Days differ by more than chance, with a standard deviation of the share `day_spread`.
    """

    variation: float
    autocorrelation: float = 0.0
    weekend: float = 0.0
    day_spread: float = 0.0

    def draw(self, survival: Values, users: int | Counts, histories: int, seed: int) -> Values:
        """Means of days x histories. The same seed gives the same histories.

        `survival` is, for each day, the probability that a user's value does not become zero.
        """
        noise = np.random.default_rng(seed).standard_normal((len(survival), histories))
        for day in range(1, len(survival)):
            noise[day] *= np.sqrt(1 - self.autocorrelation**2)
            noise[day] += self.autocorrelation * noise[day - 1]
        # The values have mean 1, and a share of 1 - survival becomes zero. This multiplies mean and second moment by
        # survival.
        spread = np.sqrt((survival * (self.variation**2 + 1) - survival**2) / users)
        level = np.where(np.isin(np.arange(len(survival)) % WEEK, WEEKEND), 1 - self.weekend, 1.0)
        means: Values = (survival[:, None] + spread[:, None] * noise) * level[:, None]
        factors = 1 + self.day_spread * np.random.default_rng([seed, 1]).standard_normal(means.shape)
        return means * factors


@dataclass(frozen=True, eq=False)
class ResampledDays:
    """Histories of real days, in blocks of consecutive days. Within a day, users are drawn with replacement."""

    days: Days
    block: int = WEEK

    def draw(self, survival: Values, users: int | Counts, histories: int, seed: int) -> Values:
        """See NormalNoise.draw."""
        rng = np.random.default_rng(seed)
        chosen = self.choose(len(survival), histories, rng)
        users_of_days = np.broadcast_to(users, len(survival))
        # Users are drawn at random, so it does not matter which values become zero: the last do.
        survivors = rng.binomial(users_of_days[:, None], np.broadcast_to(survival[:, None], chosen.shape))
        means = np.empty(chosen.shape)
        for count in np.unique(users_of_days):
            same_count = np.flatnonzero(users_of_days == count)
            for number, values in enumerate(self.days):
                rows, history = np.nonzero(chosen[same_count] == number)
                cells = same_count[rows], history
                means[cells] = _draw_means(values, survivors[cells], int(count), rng)
        return means

    def choose(self, days: int, histories: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """The number of the real day at each position, days x histories."""
        blocks = -(-days // self.block)
        starts = rng.integers(0, len(self.days) - self.block + 1, (blocks, 1, histories))
        numbers = starts + np.arange(self.block)[None, :, None]
        return numbers.reshape(blocks * self.block, histories)[:days]


HistorySource = NormalNoise | ResampledDays


def simulate_answers(useful: float = 0.7, max_answers: int = 5, users: int = 20_000, seed: int = 0) -> Values:
    """The share of useful answers of each user. Users give 1 to `max_answers` answers; their satisfaction differs."""
    rng = np.random.default_rng(seed)
    answers = rng.integers(1, max_answers + 1, users)
    content = rng.beta(10 * useful, 10 * (1 - useful), users)
    shares: Values = rng.binomial(answers, content) / answers
    return shares


def merge_days(values: Values, users: int | Counts, at_least: int) -> tuple[Values, Counts, Counts]:
    """Merge days until they have `at_least` users. Returns means, numbers of users, and last days, counted from 1.

    Days at the end that have too few users are dropped.
    """
    means, counts, ends = [], [], []
    total, count = np.zeros(values.shape[1]), 0
    for day, (row, users_of_day) in enumerate(zip(values, np.broadcast_to(users, len(values)), strict=True), start=1):
        total, count = total + row * users_of_day, count + int(users_of_day)
        if count >= at_least:
            means.append(total / count)
            counts.append(count)
            ends.append(day)
            total, count = np.zeros(values.shape[1]), 0
    return np.stack(means), np.array(counts), np.array(ends)


def _draw_means(values: Values, survivors: NDArray[np.int64], users: int, rng: np.random.Generator) -> Values:
    """The mean of `users` random values for each day. All values after the first `survivors` of the day become zero."""
    drawn = values[rng.integers(0, len(values), (len(survivors), users), dtype=np.int32)]
    if (survivors < users).any():
        drawn *= np.arange(users) < survivors[:, None]
    means: Values = drawn.mean(axis=1)
    return means


Alarms = NDArray[np.bool_]
DetectionRule = Callable[[Values, Counts], Alarms]
"""Arguments: the values, and the number of users behind each value."""

_LOWER_95 = 1.959964


def cusum(values: Values, users: Counts, rule: CusumSettings) -> Alarms:
    """The detector of this project."""
    detector = SelfStartingCusum(rule, values.shape[1])
    return np.stack([detector.add(row, float(count)).alarm for row, count in zip(values, users, strict=True)])


def ignoring_users(rule: DetectionRule) -> DetectionRule:
    """The same rule with equal weight for all values."""
    return lambda values, users: rule(values, np.ones_like(users))


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
    step. A sum more than `threshold` below its maximum is an alarm. The first `min_values` - 1 values raise none.
    """

    delta: float = 0.005
    threshold: float = 50.0
    min_values: int = 30
    fading: float = 0.9999

    def __call__(self, values: Values) -> Alarms:
        return self.statistic(values) > self.threshold

    def statistic(self, values: Values) -> Values:
        """How far the sum lies below its maximum. Zero for the first `min_values` - 1 values."""
        total, highest = np.zeros(values.shape[1]), np.full(values.shape[1], -np.inf)
        mean = np.cumsum(values, axis=0) / np.arange(1, len(values) + 1)[:, None]
        fall = np.zeros(values.shape)
        for number, row in enumerate(values):
            total = self.fading * total + row - mean[number] + self.delta
            highest = np.maximum(highest, total)
            fall[number] = highest - total
        fall[: self.min_values - 1] = 0.0
        return fall


def first_alarm(alarms: Alarms, ends: Counts) -> Values:
    """The day of each history's first alarm; infinity where there is none. `ends` are the last days of the periods."""
    return np.where(alarms.any(axis=0), ends[alarms.argmax(axis=0)].astype(np.float64), np.inf)


QUARTER, YEAR = 90, 365
DEADLINE = 60
"""Days after a drop within which it has to be detected."""


@dataclass(frozen=True, eq=False)
class Histories:
    """`count` histories of a source, with `users` on every day, or one number per day of a year.

    Days are merged until they have `at_least` users, as in production.
    """

    source: HistorySource
    users: int | Counts
    count: int
    seed: int
    at_least: int = 200
    _falling: dict[tuple[float, int], Values] = field(default_factory=dict)

    @cached_property
    def quiet(self) -> Values:
        """A year in which nothing changes."""
        return self.draw_quiet(YEAR)

    def draw_quiet(self, days: int) -> Values:
        """`days` days in which nothing changes."""
        return self.source.draw(np.ones(days), self._users_of_days(days), self.count, self.seed)

    def falling(self, share: float, day: int) -> Values:
        """Days until the deadline of a drop. From `day` on, each user's value is zero with this probability."""
        if (share, day) not in self._falling:
            survival = np.ones(day - 1 + DEADLINE)
            survival[day - 1 :] = 1 - share
            users = self._users_of_days(len(survival))
            self._falling[share, day] = self.source.draw(survival, users, self.count, self.seed + 1)
        return self._falling[share, day]

    def alarms(self, values: Values, rule: DetectionRule) -> Values:
        """The day of each history's first alarm, from 1; infinity where there is none."""
        means, users, ends = merge_days(values, self._users_of_days(len(values)), self.at_least)
        return first_alarm(rule(means, users), ends)

    def false_alarms(self, rule: DetectionRule, days: int = YEAR) -> Values:
        """The day of the first alarm while nothing changes."""
        return self.alarms(self.quiet[:days], rule)

    def detect(self, rule: DetectionRule, share: float, day: int) -> Detection:
        """How the rule detects a drop on that day."""
        return Detection.from_alarms(self.alarms(self.falling(share, day), rule), day)

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
    def from_alarms(cls, alarms: Values, day: int) -> Detection:
        """Create it from the day of the first alarm of each history, and the first day of the drop."""
        in_time = alarms >= day
        return cls(float(1 - in_time.mean()), alarms[in_time] - day + 1)

    @property
    def share(self) -> float:
        """The share of these histories that were detected within DEADLINE days."""
        return float((self.delays <= DEADLINE).mean()) if len(self.delays) else float("nan")

    def within(self, share: float = 0.5) -> float:
        """The days within which this share of the histories is detected; infinity if fewer are detected."""
        if not len(self.delays):
            return float("inf")
        return float(np.quantile(self.delays, share, method="inverted_cdf"))


def share_within(alarms: Values, days: int) -> float:
    """The share of histories with an alarm within the first `days` days."""
    return float((alarms <= days).mean())
