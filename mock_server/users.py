"""Users, their tastes, and the true probability that a user plays a track."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mock_server.catalogue import TrackPools, draw_updates
from mock_server.randomness import Indices, Integers, Period, instants, public_ids, scramble
from mock_server.word_lists import GENRES

SCENE_SLOTS = 6
_FALLING = 0.7 ** np.arange(SCENE_SLOTS)
SLOT_WEIGHTS = np.concatenate([0.45 * _FALLING / _FALLING.sum(), 0.45 * _FALLING / _FALLING.sum(), [0.10]])
"""Probability that a play comes from each favourite scene, each favourite artist, and the whole catalogue (last)."""

HOME_SHARE = 0.6
FAITHFUL_SHARE = 0.85


@dataclass(frozen=True)
class Users:
    """One entry per user, removed users included. Times are microseconds since 1970.

    `tastes` holds the pools of the favourite scenes and artists, shape (users, 12). `mailbox` is the row whose e-mail
    address the user has: normally their own row; for 1 to 3 users in a thousand, the previous row.
    """

    id: Indices
    genre: NDArray[np.int8]
    tastes: Indices
    activity: NDArray[np.float64]
    mailbox: Indices
    created: Integers
    updated: Integers
    version: Indices
    listed: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.id)


def draw_users(first: int, count: int, period: Period, pools: TrackPools) -> Users:
    """`count` new users with tastes and power-law activity, created within the period."""
    rng = period.rng
    genre, tastes = draw_tastes(count, pools, rng)
    created = instants(rng, period.start, period.end, count)
    return Users(
        id=public_ids(first, count, period.seed, kind=2),
        genre=genre,
        tastes=tastes,
        activity=np.minimum((1 - rng.random(count)) ** -0.5, 30.0),
        mailbox=_mailboxes(first, count, period.seed),
        created=created,
        updated=draw_updates(created, period),
        version=np.zeros(count, np.int32),
        listed=np.ones(count, np.bool_),
    )


def draw_tastes(count: int, pools: TrackPools, rng: np.random.Generator) -> tuple[NDArray[np.int8], Indices]:
    """A stated favourite genre and 12 favourite pools for each of `count` users.

    The pools are six scenes, most of them of the home genre, and one artist of each scene. FAITHFUL_SHARE of the users
    state their home genre; the others state a random genre.
    """
    home = pools.genre_of(pools.draw(np.zeros(count, np.int32), rng))
    at_home = rng.random((count, SCENE_SLOTS)) < HOME_SHARE
    seed_tracks = pools.draw(np.where(at_home, pools.genre_pool(home)[:, None], 0), rng)
    scenes = pools.scene_pool(seed_tracks)
    artists = pools.artist_pool(pools.draw(scenes, rng))
    stated = np.where(rng.random(count) < FAITHFUL_SHARE, home, rng.integers(0, len(GENRES), count))
    return stated.astype(np.int8), np.concatenate([scenes, artists], axis=1)


def _mailboxes(first: int, count: int, seed: int) -> Indices:
    """The row whose e-mail each user has. In every thousand, 1 to 3 users have the e-mail of the previous row."""
    rows = np.arange(first, first + count, dtype=np.int32)
    thousand, place = rows // 1000, rows % 1000
    mixed = scramble(thousand, seed * 8 + 3)
    sharing = np.zeros(count, np.bool_)
    for nth in range(3):
        chosen = 1 + 2 * ((mixed >> np.uint64(16 * nth)) % np.uint64(499)).astype(np.int64)
        sharing |= (place == chosen) & (nth <= (mixed >> np.uint64(50)) % np.uint64(3))
    return np.where(sharing, rows - 1, rows)


def true_scores(users: Users, pools: TrackPools, user_rows: Integers) -> NDArray[np.float64]:
    """The probability that a play of each user is each track. Shape (users, tracks); each row sums to 1.

    `user_rows` and the columns are row numbers, not public ids. Removed tracks have probability zero.
    """
    by_pool = np.zeros((len(user_rows), len(pools.order)))
    from_catalogue = pools.probabilities(0)[1] * SLOT_WEIGHTS[-1]
    for row, user in enumerate(user_rows):
        by_pool[row] = from_catalogue
        for slot, pool in enumerate(users.tastes[user]):
            positions, probability = pools.probabilities(int(pool))
            by_pool[row, positions] += SLOT_WEIGHTS[slot] * probability
    scores = np.empty_like(by_pool)
    scores[:, pools.order] = by_pool
    return scores
