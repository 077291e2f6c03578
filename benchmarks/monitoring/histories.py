"""Made-up histories of a quality that is measured daily: the means of so many listeners a day, days x histories.

`listeners` are one number for all days, or one for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.monitoring.mock_days import Days, Values

Counts = NDArray[np.int64]
"""Numbers of listeners, one for each day or for each value."""

WEEK = 7
WEEKEND = (5, 6)


class Source(Protocol):
    """Where histories come from.

    `kept` says for each day the chance that a listener's value is what it would be, and not zero. The same seed gives
    the same histories.
    """

    def draw(self, kept: Values, listeners: int | Counts, histories: int, seed: int) -> Values: ...


@dataclass(frozen=True)
class NormalNoise:
    """Means around 1 with normal noise, as wide as listeners with this coefficient of variation would make it.

    `autocorrelation` is that of one day's noise with the next day's, all of the noise taken together; Saturdays and
    Sundays are lower by the share `weekend`.
    """

    variation: float
    autocorrelation: float = 0.0
    weekend: float = 0.0

    def draw(self, kept: Values, listeners: int | Counts, histories: int, seed: int) -> Values:
        """Means of days x histories."""
        noise = np.random.default_rng(seed).standard_normal((len(kept), histories))
        for day in range(1, len(kept)):
            noise[day] *= np.sqrt(1 - self.autocorrelation**2)
            noise[day] += self.autocorrelation * noise[day - 1]
        # Of values with mean 1 that are zero with a chance: the second moment is kept, and the mean squared falls.
        spread = np.sqrt((kept * (self.variation**2 + 1) - kept**2) / listeners)
        lower = np.where(np.isin(np.arange(len(kept)) % WEEK, WEEKEND), 1 - self.weekend, 1.0)
        means: Values = (kept[:, None] + spread[:, None] * noise) * lower[:, None]
        return means


@dataclass(frozen=True, eq=False)
class Bootstrapped:
    """Histories made of days that were, in blocks of days that followed each other, each block from anywhere.

    Within a day, listeners are drawn with replacement from that day's.
    """

    days: Days
    block: int = WEEK

    def draw(self, kept: Values, listeners: int | Counts, histories: int, seed: int) -> Values:
        """Means of days x histories."""
        random = np.random.default_rng(seed)
        chosen = self.choose(len(kept), histories, random)
        # Of listeners who are drawn at random, which of them become zero does not matter: the last ones.
        each = np.broadcast_to(listeners, len(kept))
        left = random.binomial(each[:, None], np.broadcast_to(kept[:, None], chosen.shape))
        means = np.empty(chosen.shape)
        for count in np.unique(each):
            as_many = np.flatnonzero(each == count)
            for number, values in enumerate(self.days):
                places, history = np.nonzero(chosen[as_many] == number)
                cells = as_many[places], history
                means[cells] = _means(values, left[cells], int(count), random)
        return means

    def choose(self, days: int, histories: int, random: np.random.Generator) -> NDArray[np.int64]:
        """Which day of those that were stands in each place, days x histories."""
        blocks = -(-days // self.block)
        starts = random.integers(0, len(self.days) - self.block + 1, (blocks, 1, histories))
        running = starts + np.arange(self.block)[None, :, None]
        return running.reshape(blocks * self.block, histories)[:days]


@dataclass(frozen=True, eq=False)
class InOrder:
    """The days as they were, one after the other; only the listeners of each day are drawn."""

    days: Days

    def draw(self, kept: Values, listeners: int | Counts, histories: int, seed: int) -> Values:
        """Means of days x histories; there are no more days than were."""
        return Bootstrapped(self.days[: len(kept)], block=len(kept)).draw(kept, listeners, histories, seed)


@dataclass(frozen=True)
class Restless:
    """Histories of another source whose days differ by more than chance: each is better or worse by itself, with this
    standard deviation as a share of its level."""

    source: Source
    spread: float

    def draw(self, kept: Values, listeners: int | Counts, histories: int, seed: int) -> Values:
        """Means of days x histories."""
        means = self.source.draw(kept, listeners, histories, seed)
        own: Values = means * (1 + self.spread * np.random.default_rng([seed, 1]).standard_normal(means.shape))
        return own


def answers_of_listeners(useful: float = 0.7, most: int = 5, listeners: int = 20_000, seed: int = 0) -> Values:
    """The share of useful answers of made-up listeners, who give 1 to `most` answers and are more or less content."""
    random = np.random.default_rng(seed)
    given = random.integers(1, most + 1, listeners)
    content = random.beta(10 * useful, 10 * (1 - useful), listeners)
    shares: Values = random.binomial(given, content) / given
    return shares


def merge_days(values: Values, listeners: int | Counts, at_least: int) -> tuple[Values, Counts, Counts]:
    """Means of days together until they have at least so many listeners, their listeners, and the last day of each,
    from 1.

    Days at the end that are too few are left out.
    """
    merged, numbers, ends = [], [], []
    total, count = np.zeros(values.shape[1]), 0
    for day, (row, came) in enumerate(zip(values, np.broadcast_to(listeners, len(values)), strict=True), start=1):
        total, count = total + row * came, count + int(came)
        if count >= at_least:
            merged.append(total / count)
            numbers.append(count)
            ends.append(day)
            total, count = np.zeros(values.shape[1]), 0
    return np.stack(merged), np.array(numbers), np.array(ends)


def _means(values: Values, left: NDArray[np.int64], listeners: int, random: np.random.Generator) -> Values:
    """Means of `listeners` draws each, of which only the first `left` are not zero."""
    drawn = values[random.integers(0, len(values), (len(left), listeners), dtype=np.int32)]
    if (left < listeners).any():
        drawn *= np.arange(listeners) < left[:, None]
    means: Values = drawn.mean(axis=1)
    return means
