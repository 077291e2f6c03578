"""Split plays into training data and a holdout, by user or by time."""

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
    """The held-out tracks of each user, at least one per user.

    `users` ascend. The tracks of `users[i]` are `tracks[indptr[i]:indptr[i + 1]]`, ascending; some may not be in the
    catalogue. `left_out` counts users with held-out plays who are not in train; `repeaters` counts users of train who
    played nothing new. Neither group is in `users`.
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
        """The number of held-out tracks per user."""
        return np.diff(self.indptr)

    @classmethod
    def from_interactions(cls, later: Interactions, train: Interactions) -> Self:
        """Hold out the pairs of `later` that are not in `train`, for users with plays in `train`."""
        before = train.select_users(later.user_ids)
        in_train = np.diff(before.plays.indptr) > 0
        rows, pairs = _pairs(later)
        new = in_train[rows] & ~np.isin(pairs, _pairs(before.select_tracks(later.track_ids))[1])
        sizes = np.bincount(rows[new], minlength=len(in_train))
        played_later = np.isin(later.user_ids, later.users_with_plays)
        return cls(
            later.user_ids[sizes > 0],
            np.concatenate([[0], np.cumsum(sizes[sizes > 0])]).astype(np.int64),
            later.track_ids[later.plays.indices[new]],
            left_out=int((played_later & ~in_train).sum()),
            repeaters=int((played_later & in_train & (sizes == 0)).sum()),
        )

    def at_positions(self, chosen: NDArray[np.intp]) -> Self:
        """Select users by position; `chosen` ascends."""
        sizes = self.sizes[chosen]
        indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        within = np.arange(indptr[-1]) - np.repeat(indptr[:-1], sizes)
        return replace(
            self,
            users=self.users[chosen],
            indptr=indptr,
            tracks=self.tracks[np.repeat(self.indptr[chosen], sizes) + within],
        )

    def sample(self, max_users: int, seed: int) -> Self:
        """Draw at most `max_users` users."""
        if len(self) <= max_users:
            return self
        return self.at_positions(np.sort(np.random.default_rng(seed).choice(len(self), max_users, replace=False)))


class DataSplit(NamedTuple):
    """Training data and holdout."""

    train: Interactions
    holdout: Holdout


def split_by_user(interactions: Interactions, share: float = 0.2, seed: int = 0, users: int | None = None) -> DataSplit:
    """Hold out a random `share` of each user's tracks. With `users`, only that many random users are in the holdout.

    A user needs two tracks: at least one is held out, and at least one stays. Train keeps all rows and columns.
    """
    random = np.random.default_rng(seed)
    plays = interactions.plays
    sizes = np.diff(plays.indptr)
    rows = np.repeat(np.arange(len(sizes)), sizes)
    eligible = np.flatnonzero(sizes >= 2)
    if users is not None and users < len(eligible):
        eligible = random.choice(eligible, users, replace=False)
    counts = np.zeros(len(sizes), np.int64)
    counts[eligible] = np.clip(np.rint(share * sizes[eligible]), 1, sizes[eligible] - 1)
    # Shuffle the entries of each row, and hold out the first `counts` of them.
    order = np.lexsort((random.random(len(rows)), rows))
    position = np.arange(len(rows)) - np.repeat(plays.indptr[:-1], sizes)
    held_out = np.zeros(len(rows), bool)
    held_out[order[position < counts[rows]]] = True
    train = _entries(interactions, rows, ~held_out)
    return DataSplit(train, Holdout.from_interactions(_entries(interactions, rows, held_out), train))


def split_by_time(log: PlayLog, split_at: ArrayLike, weighting: PlayWeighting = AS_PLAYED) -> DataSplit:
    """Train on all plays before `split_at`; hold out what its users first played at or after it."""
    train = log.interactions(split_at, weighting)
    before = train if weighting == AS_PLAYED else log.interactions(split_at)
    return DataSplit(train, Holdout.from_interactions(log.interactions_from(split_at), before))


def _entries(interactions: Interactions, rows: NDArray[np.intp], selected: NDArray[np.bool_]) -> Interactions:
    plays = interactions.plays
    matrix = csr_array((plays.data[selected], (rows[selected], plays.indices[selected])), shape=plays.shape)
    matrix.sort_indices()
    return replace(interactions, plays=matrix)


def _pairs(interactions: Interactions) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """The row of each play, and a unique number of its row and column."""
    rows = np.repeat(np.arange(len(interactions.user_ids)), np.diff(interactions.plays.indptr))
    return rows, rows.astype(np.int64) * len(interactions.track_ids) + interactions.plays.indices
