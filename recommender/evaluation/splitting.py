"""Split plays into training data and a holdout, by user or by time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from recommender.data.interactions import Ids, Interactions, select_entries
from recommender.data.play_log import AS_PLAYED, PlayLog, PlayWeighting

_USERS_AT_ONCE = 10_000


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
        train_rows = train.user_rows(later.user_ids)
        in_train = (train_rows >= 0) & (np.append(np.diff(train.plays.indptr), 0)[train_rows] > 0)
        played_later = np.diff(later.plays.indptr) > 0
        columns = later.track_columns(train.track_ids)  # of each track of train
        users: list[NDArray[np.intp]] = [np.empty(0, np.intp)]
        tracks: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
        active = np.flatnonzero(played_later & in_train)
        for begin in range(0, len(active), _USERS_AT_ONCE):
            rows = active[begin : begin + _USERS_AT_ONCE]
            later_users, later_columns = _entries_of(later.plays[rows])
            train_users, train_columns = _entries_of(train.plays[train_rows[rows]])
            width = len(later.track_ids) + 1  # one more for the tracks that are not in later
            is_in_train = np.isin(later_users * width + later_columns, train_users * width + columns[train_columns])
            users.append(rows[later_users[~is_in_train]])
            tracks.append(later_columns[~is_in_train])
        sizes = np.bincount(np.concatenate(users), minlength=len(later.user_ids))
        return cls(
            later.user_ids[sizes > 0],
            np.concatenate([[0], np.cumsum(sizes[sizes > 0])]).astype(np.int64),
            later.track_ids[np.concatenate(tracks)],
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


def split_by_user(interactions: Interactions, share: float = 0.1, seed: int = 0, users: int | None = None) -> DataSplit:
    """Hold out a random `share` of each user's tracks. With `users`, only that many random users are in the holdout.

    A user needs two tracks: at least one is held out, and at least one stays. Train keeps all rows and columns.
    """
    random = np.random.default_rng(seed)
    plays = interactions.plays
    sizes = np.diff(plays.indptr)
    eligible = np.flatnonzero(sizes >= 2)
    if users is not None and users < len(eligible):
        eligible = random.choice(eligible, users, replace=False)
    counts = np.zeros(len(sizes), np.int64)
    counts[eligible] = np.clip(np.rint(share * sizes[eligible]), 1, sizes[eligible] - 1)
    is_in_holdout = np.zeros(plays.nnz, bool)
    for begin in range(0, len(sizes), _USERS_AT_ONCE):
        indptr = plays.indptr[begin : begin + _USERS_AT_ONCE + 1].astype(np.int64)
        rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
        # Shuffle the entries of each row, and hold out the first `counts` of them.
        order = np.lexsort((random.random(len(rows)), rows))
        position = np.arange(len(rows)) + indptr[0] - indptr[:-1][rows]
        is_in_holdout[indptr[0] + order[position < counts[begin + rows]]] = True
    train = _select(interactions, ~is_in_holdout)
    return DataSplit(train, Holdout.from_interactions(_select(interactions, is_in_holdout), train))


def split_by_time(log: PlayLog, split_at: ArrayLike, weighting: PlayWeighting = AS_PLAYED) -> DataSplit:
    """Train on all plays before `split_at`; hold out the tracks that its users first played later."""
    train = log.interactions(split_at, weighting)
    before = train if weighting == AS_PLAYED else log.interactions(split_at)
    return DataSplit(train, Holdout.from_interactions(log.interactions_from(split_at), before))


def split_last_plays(log: PlayLog, share: float = 0.1) -> tuple[DataSplit, np.datetime64]:
    """Split at the time that leaves the last `share` of the rows for the holdout. Also returns the time."""
    times = np.sort(log.played_at)
    split_at = times[min(int((1 - share) * len(times)), len(times) - 1)].astype("datetime64[us]")
    return split_by_time(log, split_at), split_at


def _select(interactions: Interactions, selected: NDArray[np.bool_]) -> Interactions:
    plays = interactions.plays
    matrix = select_entries(plays.data, plays.indices, plays.indptr, selected, plays.shape)
    return replace(interactions, plays=matrix)


def _entries_of(plays: csr_array) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """The row and the column of each play."""
    return np.repeat(np.arange(plays.shape[0]), np.diff(plays.indptr)), plays.indices
