"""Made-up listeners whose tastes are known, in the shape of a public data set that recommenders are measured on.

Every item lies in one niche of one region (as places do, or artists of a scene), and has one style that cuts across
the regions. Popularity within all of them follows a power law, and so does how much a listener plays. A listener has
a home region, a few niches, most of them at home, and a few styles. What is held out is drawn at random per listener.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommender.data.interactions import Interactions

Column = NDArray[np.int64]
HELD_OUT = 0.2


@dataclass(frozen=True)
class Shape:
    """How many, and how uneven. `mix` are the shares of plays from niches, styles, the home region and anywhere.

    `popularity` and `activity` are exponents of the power laws (higher: more uneven), `busiest` and `idlest` the
    most and fewest items of a listener.
    """

    users: int
    items: int
    interactions: int
    regions: int
    niches: int
    styles: int
    popularity: float
    activity: float
    idlest: int
    busiest: int
    mix: tuple[float, float, float, float]
    niches_of_user: int = 5
    styles_of_user: int = 3
    at_home: float = 0.8


class Shelves:
    """Stretches of items in one order, each drawn from by popularity."""

    def __init__(self, shelf_of: Column, count: int, weight: NDArray[np.float64]) -> None:
        self.order = np.argsort(shelf_of, kind="stable")
        self.weight = weight[self.order]
        self.cumulative = np.concatenate([[0.0], np.cumsum(self.weight)])
        self.first = np.searchsorted(shelf_of[self.order], np.arange(count))
        self.last = np.searchsorted(shelf_of[self.order], np.arange(count), side="right")

    def draw(self, shelves: Column, rng: np.random.Generator) -> Column:
        """One item of each of these shelves."""
        low, high = self.cumulative[self.first[shelves]], self.cumulative[self.last[shelves]]
        at = np.searchsorted(self.cumulative, low + rng.random(len(shelves)) * (high - low), side="right") - 1
        found: Column = self.order[np.clip(at, self.first[shelves], self.last[shelves] - 1)]
        return found

    def add_to(self, scores: NDArray[np.float64], shelf: int, share: float) -> None:
        """Add the share of plays that come from a shelf to a score for each item."""
        stretch = slice(self.first[shelf], self.last[shelf])
        scores[self.order[stretch]] += share * self.weight[stretch] / self.weight[stretch].sum()


class ListeningSet:
    """Plays to learn from, plays held out, and how likely each item is for each listener."""

    def __init__(self, shape: Shape, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.shape = shape
        niche = np.append(np.arange(shape.niches), _uneven(shape.niches, shape.items - shape.niches, 0.8, rng))
        style = np.append(np.arange(shape.styles), _uneven(shape.styles, shape.items - shape.styles, 0.8, rng))
        region_of_niche = np.append(
            np.arange(shape.regions), _uneven(shape.regions, shape.niches - shape.regions, 1.0, rng)
        )
        weight = (1 - rng.random(shape.items)) ** -shape.popularity
        region = region_of_niche[niche]
        self._shelves = (
            Shelves(niche, shape.niches, weight),
            Shelves(rng.permuted(style), shape.styles, weight),
            Shelves(region, shape.regions, weight),
            Shelves(np.zeros(shape.items, np.int64), 1, weight),
        )
        self._tastes = self._draw_tastes(niche, region, rng)
        self.train, self.holdout = self._split(*self._draw_plays(rng), rng)

    def truth(self, user: int) -> NDArray[np.float64]:
        """The probability of each item in a play of this user."""
        scores = np.zeros(self.shape.items)
        for shelves, tastes, share in zip(self._shelves, self._tastes, self.shape.mix, strict=True):
            for shelf in tastes[user]:
                shelves.add_to(scores, int(shelf), share / tastes.shape[1])
        return scores

    def _draw_tastes(self, niche: Column, region: Column, rng: np.random.Generator) -> tuple[Column, ...]:
        """The shelves of each user, users x how many, for each of the four kinds."""
        users, shape = self.shape.users, self.shape
        everywhere = np.zeros((users, 1), np.int64)
        home = region[self._shelves[3].draw(everywhere[:, 0], rng)]
        met = np.stack(
            [
                np.where(
                    rng.random(users) < shape.at_home,
                    self._shelves[2].draw(home, rng),
                    self._shelves[3].draw(everywhere[:, 0], rng),
                )
                for _ in range(shape.niches_of_user)
            ],
            axis=1,
        )
        styles = rng.integers(0, shape.styles, (users, shape.styles_of_user))
        return niche[met], styles, home[:, None], everywhere

    def _draw_plays(self, rng: np.random.Generator) -> tuple[Column, Column]:
        """Users and items of single plays, three for each interaction that is wanted, for many fall together."""
        shape = self.shape
        activity = np.minimum((1 - rng.random(shape.users)) ** -shape.activity, shape.busiest / shape.idlest)
        plays = 3 * shape.interactions * activity / activity.sum() + 3 * shape.idlest
        user = np.repeat(np.arange(shape.users), plays.astype(np.int64))
        kind = rng.choice(4, len(user), p=np.asarray(shape.mix) / sum(shape.mix))
        item = np.empty(len(user), np.int64)
        for number, (shelves, tastes) in enumerate(zip(self._shelves, self._tastes, strict=True)):
            chosen = np.flatnonzero(kind == number)
            item[chosen] = shelves.draw(tastes[user[chosen], rng.integers(0, tastes.shape[1], len(chosen))], rng)
        return user, item

    def _split(self, user: Column, item: Column, rng: np.random.Generator) -> tuple[Interactions, Interactions]:
        pair, plays = np.unique(user * self.shape.items + item, return_counts=True)
        kept = np.sort(rng.permutation(len(pair))[: self.shape.interactions])
        user, item = np.divmod(pair[kept], self.shape.items)
        # A listener plays a favourite far more often than chance would: log-normal on top.
        heard = np.ceil(plays[kept] * rng.lognormal(1.0, 1.5, len(kept)))
        ahead = rng.random(len(kept)) < HELD_OUT
        sides = [
            Interactions.from_pairs(user[side], item[side], heard[side], catalogue=np.arange(self.shape.items))
            for side in (~ahead, ahead)
        ]
        return sides[0], sides[1]


def make_checkins(
    users: int = 30_000, places: int = 41_000, interactions: int = 1_000_000, *, seed: int = 0
) -> ListeningSet:
    """Visits, nine of ten at home, and a few very busy visitors; a fifth of the `interactions` is held out."""
    shape = Shape(
        users=users,
        items=places,
        interactions=interactions,
        regions=max(2, places // 340),
        niches=max(4, places // 50),
        styles=max(3, places // 340),
        popularity=0.6,
        activity=0.6,
        idlest=10,
        busiest=600,
        mix=(0.45, 0.1, 0.3, 0.15),
        at_home=0.9,
    )
    return ListeningSet(shape, seed)


def _uneven(count: int, many: int, exponent: float, rng: np.random.Generator) -> Column:
    """`many` draws of 0 to count - 1, the first of them the most often, by Zipf's law."""
    chances = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    return rng.choice(count, many, p=chances / chances.sum())
