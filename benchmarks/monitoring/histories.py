"""Made-up histories of a quality that is measured daily: the means of so many listeners a day, days x histories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.monitoring.mock_days import Days, Values

WEEK = 7
_WEEKEND = (5, 6)


class Source(Protocol):
    """Where histories come from.

    `kept` says for each day the chance that a listener's value is what it would be, and not zero. The same seed gives
    the same histories.
    """

    def draw(self, kept: Values, listeners: int, histories: int, seed: int) -> Values: ...


@dataclass(frozen=True)
class NormalNoise:
    """Means around 1 with normal noise, as wide as listeners with this coefficient of variation would make it.

    `autocorrelation` is that of one day's noise with the next day's, all of the noise taken together; Saturdays and
    Sundays are lower by the share `weekend`.
    """

    variation: float
    autocorrelation: float = 0.0
    weekend: float = 0.0

    def draw(self, kept: Values, listeners: int, histories: int, seed: int) -> Values:
        """Means of days x histories."""
        noise = np.random.default_rng(seed).standard_normal((len(kept), histories))
        for day in range(1, len(kept)):
            noise[day] *= np.sqrt(1 - self.autocorrelation**2)
            noise[day] += self.autocorrelation * noise[day - 1]
        # Of values with mean 1 that are zero with a chance: the second moment is kept, and the mean squared falls.
        spread = np.sqrt((kept * (self.variation**2 + 1) - kept**2) / listeners)
        lower = np.where(np.isin(np.arange(len(kept)) % WEEK, _WEEKEND), 1 - self.weekend, 1.0)
        means: Values = (kept[:, None] + spread[:, None] * noise) * lower[:, None]
        return means


@dataclass(frozen=True, eq=False)
class Bootstrapped:
    """Histories made of days that were, in blocks of days that followed each other, each block from anywhere.

    Within a day, listeners are drawn with replacement from that day's.
    """

    days: Days
    block: int = WEEK

    def draw(self, kept: Values, listeners: int, histories: int, seed: int) -> Values:
        """Means of days x histories."""
        random = np.random.default_rng(seed)
        chosen = self.choose(len(kept), histories, random)
        # Of listeners who are drawn at random, which of them become zero does not matter: the last ones.
        left = random.binomial(listeners, np.broadcast_to(kept[:, None], chosen.shape))
        means = np.empty(chosen.shape)
        for number, values in enumerate(self.days):
            cells = chosen == number
            means[cells] = _means(values, left[cells], listeners, random)
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

    def draw(self, kept: Values, listeners: int, histories: int, seed: int) -> Values:
        """Means of days x histories; there are no more days than were."""
        return Bootstrapped(self.days[: len(kept)], block=len(kept)).draw(kept, listeners, histories, seed)


def answers_of_listeners(useful: float = 0.7, most: int = 5, listeners: int = 20_000, seed: int = 0) -> Values:
    """The share of useful answers of made-up listeners, who give 1 to `most` answers and are more or less content."""
    random = np.random.default_rng(seed)
    given = random.integers(1, most + 1, listeners)
    content = random.beta(10 * useful, 10 * (1 - useful), listeners)
    shares: Values = random.binomial(given, content) / given
    return shares


def merge_days(values: Values, listeners: int, at_least: int) -> tuple[Values, NDArray[np.int64]]:
    """Means of so many days together that they have at least so many listeners, and the last day of each, from 1.

    Days at the end that are too few are left out.
    """
    together = -(-at_least // listeners)
    whole = len(values) // together
    merged = values[: whole * together].reshape(whole, together, -1).mean(axis=1)
    return merged, np.arange(1, whole + 1) * together


def _means(values: Values, left: NDArray[np.int64], listeners: int, random: np.random.Generator) -> Values:
    """Means of `listeners` draws each, of which only the first `left` are not zero."""
    drawn = values[random.integers(0, len(values), (len(left), listeners), dtype=np.int32)]
    if (left < listeners).any():
        drawn *= np.arange(listeners) < left[:, None]
    means: Values = drawn.mean(axis=1)
    return means
