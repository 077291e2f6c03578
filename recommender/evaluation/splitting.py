"""What is held out: plays that a model must name without having seen them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from recommender.data.interactions import Ids, Interactions
from recommender.data.play_log import AS_PLAYED, PlayLog, PlayWeighting


@dataclass(frozen=True, eq=False)
class Holdout:
    """What each user played that was kept from the models: at least one track of each.

    `users` ascend; those of `users[i]` are `tracks[indptr[i]:indptr[i + 1]]`, ascending, of which the catalogue may not
    know all. `left_out` counts users with held-out plays who are not in train, `repeaters` those of train who
    played nothing new: neither is in `users`.
    """

    users: Ids
    indptr: NDArray[np.int64]
    tracks: Ids
    left_out: int = 0
    repeaters: int = 0

    def __len__(self) -> int:
        return len(self.users)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """How many tracks of each user are held out."""
        return np.diff(self.indptr)

    @classmethod
    def of(cls, later: Interactions, train: Interactions) -> Self:
        """The pairs of `later` that are not in `train`, of users who are in `train` with plays."""
        before = train.of_users(later.user_ids)
        known = np.diff(before.plays.indptr) > 0
        rows, pairs = _pairs(later)
        new = known[rows] & ~np.isin(pairs, _pairs(before.on_tracks(later.track_ids))[1])
        sizes = np.bincount(rows[new], minlength=len(known))
        asked = np.isin(later.user_ids, later.users_with_plays)
        return cls(
            later.user_ids[sizes > 0],
            np.concatenate([[0], np.cumsum(sizes[sizes > 0])]).astype(np.int64),
            later.track_ids[later.plays.indices[new]],
            left_out=int((asked & ~known).sum()),
            repeaters=int((asked & known & (sizes == 0)).sum()),
        )

    def at_positions(self, chosen: NDArray[np.intp]) -> Self:
        """Those at these places only; `chosen` ascends."""
        sizes = self.sizes[chosen]
        indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        within = np.arange(indptr[-1]) - np.repeat(indptr[:-1], sizes)
        return replace(
            self,
            users=self.users[chosen],
            indptr=indptr,
            tracks=self.tracks[np.repeat(self.indptr[chosen], sizes) + within],
        )

    def sample(self, at_most: int, seed: int) -> Self:
        """At most so many users, drawn by the seed."""
        if len(self) <= at_most:
            return self
        return self.at_positions(np.sort(np.random.default_rng(seed).choice(len(self), at_most, replace=False)))


class DataSplit(NamedTuple):
    """What is learned from, and what is asked."""

    train: Interactions
    holdout: Holdout


def split_by_user(interactions: Interactions, share: float = 0.2, seed: int = 0, users: int | None = None) -> DataSplit:
    """Hold out a random `share` of the tracks of each user, or of so many `users` drawn by the seed.

    Of two tracks or more at least one is held out, and at least one stays. Train keeps all rows and columns.
    """
    random = np.random.default_rng(seed)
    plays = interactions.plays
    sizes = np.diff(plays.indptr)
    rows = np.repeat(np.arange(len(sizes)), sizes)
    asked = np.flatnonzero(sizes >= 2)
    if users is not None and users < len(asked):
        asked = random.choice(asked, users, replace=False)
    out = np.zeros(len(sizes), np.int64)
    out[asked] = np.clip(np.rint(share * sizes[asked]), 1, sizes[asked] - 1)
    # The entries of each row in random order; the first `out` of each are held out.
    order = np.lexsort((random.random(len(rows)), rows))
    place = np.arange(len(rows)) - np.repeat(plays.indptr[:-1], sizes)
    held = np.zeros(len(rows), bool)
    held[order[place < out[rows]]] = True
    train = _entries(interactions, rows, ~held)
    return DataSplit(train, Holdout.of(_entries(interactions, rows, held), train))


def split_by_time(log: PlayLog, split_at: ArrayLike, options: PlayWeighting = AS_PLAYED) -> DataSplit:
    """Train is every play before `split_at`; held out is what its users first played at or after it."""
    train = log.interactions(split_at, options)
    before = train if options == AS_PLAYED else log.interactions(split_at)
    return DataSplit(train, Holdout.of(log.interactions_from(split_at), before))


def _entries(interactions: Interactions, rows: NDArray[np.intp], kept: NDArray[np.bool_]) -> Interactions:
    plays = interactions.plays
    matrix = csr_array((plays.data[kept], (rows[kept], plays.indices[kept])), shape=plays.shape)
    matrix.sort_indices()
    return replace(interactions, plays=matrix)


def _pairs(interactions: Interactions) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """The row of each play, and a number for its row and column."""
    rows = np.repeat(np.arange(len(interactions.user_ids)), np.diff(interactions.plays.indptr))
    return rows, rows.astype(np.int64) * len(interactions.track_ids) + interactions.plays.indices
