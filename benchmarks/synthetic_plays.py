"""Synthetic plays in the shape of a public data set of visits to places.

Each track lies in one niche of one region (as places do, or artists of a scene), and has a style that cuts across the
regions. The popularity of tracks and the activity of users follow power laws. A user has a home region, a few niches,
most of them at home, and a few styles.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recommender.data.interactions import Interactions

Ids = NDArray[np.int64]
# Exponents of the power laws: the higher, the more uneven.
_POPULARITY, _ACTIVITY = 0.6, 0.6
_FEWEST, _MOST = 10, 600  # tracks of a user
_SHARES = (0.45, 0.1, 0.3, 0.15)  # of plays from niches, styles, the home region and anywhere
_NICHES_PER_USER, _STYLES_PER_USER = 5, 3
_NICHES_AT_HOME = 0.9
_HELD_OUT = 0.2


class TrackGroups:
    """Tracks in groups. A group is drawn from by the popularity of its tracks."""

    def __init__(self, group_of_track: Ids, count: int, weight: NDArray[np.float64]) -> None:
        self._tracks = np.argsort(group_of_track, kind="stable")
        self._cumulative = np.concatenate([[0.0], np.cumsum(weight[self._tracks])])
        groups = group_of_track[self._tracks]
        self._first, self._last = (np.searchsorted(groups, np.arange(count), side) for side in ("left", "right"))

    def draw(self, groups: Ids, rng: np.random.Generator) -> Ids:
        """One track of each of these groups."""
        low, high = self._cumulative[self._first[groups]], self._cumulative[self._last[groups]]
        points = low + rng.random(len(groups)) * (high - low)
        positions = np.searchsorted(self._cumulative, points, side="right") - 1
        tracks: Ids = self._tracks[np.clip(positions, self._first[groups], self._last[groups] - 1)]
        return tracks


def make_plays(users: int, tracks: int, interactions: int, *, seed: int = 0) -> Interactions:
    """Plays of four in five of so many pairs of user and track. The same arguments give the same plays."""
    rng = np.random.default_rng(seed)
    regions, niches, styles = max(2, tracks // 340), max(4, tracks // 50), max(3, tracks // 340)
    niche = _assign(niches, tracks, 0.8, rng)
    style = _assign(styles, tracks, 0.8, rng)
    region = _assign(regions, niches, 1.0, rng)[niche]
    weight = (1 - rng.random(tracks)) ** -_POPULARITY
    anywhere = TrackGroups(np.zeros(tracks, np.int64), 1, weight)
    groups = (
        TrackGroups(niche, niches, weight),
        TrackGroups(rng.permuted(style), styles, weight),
        TrackGroups(region, regions, weight),
        anywhere,
    )
    everywhere = np.zeros(users, np.int64)
    home = region[anywhere.draw(everywhere, rng)]
    favourites = [
        np.where(rng.random(users) < _NICHES_AT_HOME, groups[2].draw(home, rng), anywhere.draw(everywhere, rng))
        for _ in range(_NICHES_PER_USER)
    ]
    user_styles = rng.integers(0, styles, (users, _STYLES_PER_USER))
    tastes = (niche[np.stack(favourites, axis=1)], user_styles, home[:, None], everywhere[:, None])
    user, track = _draw_plays(groups, tastes, interactions, rng)
    pair, plays = np.unique(user * tracks + track, return_counts=True)
    chosen = np.sort(rng.permutation(len(pair))[:interactions])
    user, track = np.divmod(pair[chosen], tracks)
    # A user plays a favourite far more often than chance would: log-normal on top.
    counts = np.ceil(plays[chosen] * rng.lognormal(1.0, 1.5, len(chosen)))
    train = rng.random(len(chosen)) >= _HELD_OUT
    return Interactions.from_pairs(user[train], track[train], counts[train], catalogue=np.arange(tracks))


def _draw_plays(
    groups: tuple[TrackGroups, ...], tastes: tuple[Ids, ...], interactions: int, rng: np.random.Generator
) -> tuple[Ids, Ids]:
    """Users and tracks of single plays, three per interaction, because many plays are of the same pair."""
    users = len(tastes[0])
    activity = np.minimum((1 - rng.random(users)) ** -_ACTIVITY, _MOST / _FEWEST)
    plays = 3 * interactions * activity / activity.sum() + 3 * _FEWEST
    user = np.repeat(np.arange(users), plays.astype(np.int64))
    kind = rng.choice(4, len(user), p=np.asarray(_SHARES) / sum(_SHARES))
    track = np.empty(len(user), np.int64)
    for number, (group, taste) in enumerate(zip(groups, tastes, strict=True)):
        chosen = np.flatnonzero(kind == number)
        track[chosen] = group.draw(taste[user[chosen], rng.integers(0, taste.shape[1], len(chosen))], rng)
    return user, track


def _assign(groups: int, members: int, exponent: float, rng: np.random.Generator) -> Ids:
    """A group of each member: one member in each group first, then by Zipf's law."""
    chances = np.arange(1, groups + 1, dtype=np.float64) ** -exponent
    return np.append(np.arange(groups), rng.choice(groups, members - groups, p=chances / chances.sum()))
