"""Simulated histories of a daily quality metric: means over so many users a day, as arrays of days x histories.

`users` is one number for all days, or one number for each day.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.monitoring.mock_days import Days, Values

Counts = NDArray[np.int64]
"""Numbers of users, one for each day or for each value."""

WEEK = 7
WEEKEND = (5, 6)


class HistorySource(Protocol):
    """Draws histories. `survival` is, for each day, the probability that a user's value does not become zero.

    The same seed gives the same histories.
    """

    def draw(self, survival: Values, users: int | Counts, histories: int, seed: int) -> Values:
        """Means of days x histories."""


@dataclass(frozen=True)
class NormalNoise:
    """Means around 1 with normal noise, as wide as users with this coefficient of variation make it.

    `autocorrelation` is the correlation of one day's noise with the next day's. Saturdays and Sundays are lower by the
    share `weekend`.
    """

    variation: float
    autocorrelation: float = 0.0
    weekend: float = 0.0

    def draw(self, survival: Values, users: int | Counts, histories: int, seed: int) -> Values:
        noise = np.random.default_rng(seed).standard_normal((len(survival), histories))
        for day in range(1, len(survival)):
            noise[day] *= np.sqrt(1 - self.autocorrelation**2)
            noise[day] += self.autocorrelation * noise[day - 1]
        # Of values with mean 1, some of which become zero: the second moment shrinks, and so does the squared mean.
        spread = np.sqrt((survival * (self.variation**2 + 1) - survival**2) / users)
        level = np.where(np.isin(np.arange(len(survival)) % WEEK, WEEKEND), 1 - self.weekend, 1.0)
        means: Values = (survival[:, None] + spread[:, None] * noise) * level[:, None]
        return means


@dataclass(frozen=True, eq=False)
class ResampledDays:
    """Histories of real days, in blocks of consecutive days. Within a day, users are drawn with replacement."""

    days: Days
    block: int = WEEK

    def draw(self, survival: Values, users: int | Counts, histories: int, seed: int) -> Values:
        rng = np.random.default_rng(seed)
        chosen = self.choose(len(survival), histories, rng)
        users_of_days = np.broadcast_to(users, len(survival))
        # Users are drawn at random, so it does not matter which of them become zero: the last ones do.
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
        """The number of the real day in each place, days x histories."""
        blocks = -(-days // self.block)
        starts = rng.integers(0, len(self.days) - self.block + 1, (blocks, 1, histories))
        numbers = starts + np.arange(self.block)[None, :, None]
        return numbers.reshape(blocks * self.block, histories)[:days]


@dataclass(frozen=True)
class OverdispersedDays:
    """Another source whose days differ by more than chance, with this standard deviation as a share of their level."""

    source: HistorySource
    spread: float

    def draw(self, survival: Values, users: int | Counts, histories: int, seed: int) -> Values:
        means = self.source.draw(survival, users, histories, seed)
        factors: Values = 1 + self.spread * np.random.default_rng([seed, 1]).standard_normal(means.shape)
        return means * factors


def simulate_answers(useful: float = 0.7, most: int = 5, users: int = 20_000, seed: int = 0) -> Values:
    """The share of useful answers of each user. Users give 1 to `most` answers and differ in how content they are."""
    rng = np.random.default_rng(seed)
    answers = rng.integers(1, most + 1, users)
    content = rng.beta(10 * useful, 10 * (1 - useful), users)
    shares: Values = rng.binomial(answers, content) / answers
    return shares


def merge_days(values: Values, users: int | Counts, at_least: int) -> tuple[Values, Counts, Counts]:
    """Merge days until they have so many users. Returns means, numbers of users, and last days, counted from 1.

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
    """Means of so many draws each, of which all but the first `survivors` become zero."""
    drawn = values[rng.integers(0, len(values), (len(survivors), users), dtype=np.int32)]
    if (survivors < users).any():
        drawn *= np.arange(users) < survivors[:, None]
    means: Values = drawn.mean(axis=1)
    return means
