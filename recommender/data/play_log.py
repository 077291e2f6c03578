"""When everything was played, and what users said of it: what interactions as of a time are made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import InteractionsError
from recommender.data.interactions import Ids, Interactions, ItemAttributes

Times = NDArray[np.datetime64]

_SECONDS_A_DAY = 86_400.0
_NO_IDS: Ids = np.empty(0, np.int64)
_NO_TIMES: Times = np.empty(0, "datetime64[s]")


@dataclass(frozen=True)
class PlayWeighting:
    """How plays are weighed; as they come, unless said otherwise.

    `half_life_days`: a play counts half as much after so many days. `without_not_useful`: what a user called not
    useful does not count as liked, though it was played.
    """

    half_life_days: float | None = None
    without_not_useful: bool = False

    def __str__(self) -> str:
        said = [f"half-life {self.half_life_days:g} days"] if self.half_life_days is not None else []
        return ", ".join(said + ["without not useful"] * self.without_not_useful) or "as played"


AS_PLAYED = PlayWeighting()
# When listening has changed, what was played before says little of what will be.
SHORT_MEMORY = PlayWeighting(half_life_days=7)
# What is tried for the model that was chosen; each is kept only if it wins.
WEIGHTINGS_TO_TRY = tuple(PlayWeighting(half_life_days=days) for days in (7, 30, 90, 365))
WEIGHTINGS_TO_TRY_WITH_FEEDBACK = (*WEIGHTINGS_TO_TRY, PlayWeighting(without_not_useful=True))


@dataclass(frozen=True, eq=False)
class NegativeFeedback:
    """One row per answer of a user about a track that was not useful, with its time in UTC."""

    users: Ids = field(default_factory=_NO_IDS.copy)
    tracks: Ids = field(default_factory=_NO_IDS.copy)
    given_at: Times = field(default_factory=_NO_TIMES.copy)


@dataclass(frozen=True, eq=False)
class PlayLog:
    """One row per user, track and time: a play, or the plays of one day. Times are UTC.

    A row belongs to one side of a split as a whole, so it must not sum plays over weeks. `known_users`, `catalogue`,
    `genres` and `item_attributes` are as in `Interactions.of`, and must not depend on plays after a split.
    """

    users: Ids
    tracks: Ids
    plays: NDArray[Any]
    played_at: Times
    known_users: Ids = field(default_factory=_NO_IDS.copy)
    catalogue: Ids = field(default_factory=_NO_IDS.copy)
    genres: NDArray[np.str_] | None = None
    not_useful: NegativeFeedback = field(default_factory=NegativeFeedback)
    item_attributes: ItemAttributes = field(default_factory=dict)

    def __post_init__(self) -> None:
        if np.isnat(self.played_at).any() or np.isnat(self.not_useful.given_at).any():
            raise InteractionsError("every play and every answer needs a time")

    def interactions(self, before: ArrayLike, options: PlayWeighting = AS_PLAYED) -> Interactions:
        """What was known at the time `before`, itself not included."""
        until = np.datetime64(before, "us")  # type: ignore[call-overload]
        rows = self.played_at < until
        weights = np.asarray(self.plays, np.float64)[rows]
        if options.half_life_days is not None:
            age = (until - self.played_at[rows].astype("datetime64[us]")) / np.timedelta64(1, "s") / _SECONDS_A_DAY
            # Never to zero: what was played long ago was played.
            weights = weights * np.maximum(np.exp2(-age / options.half_life_days), 1e-6)
        if options.without_not_useful:
            weights = np.where(self._called_not_useful(rows, until), 0.0, weights)
        return self._of(rows, weights)

    def interactions_from(self, start: ArrayLike) -> Interactions:
        """What was played at or after the time `start`."""
        rows = self.played_at >= np.datetime64(start, "us")  # type: ignore[call-overload]
        return self._of(rows, np.asarray(self.plays, np.float64)[rows])

    def _of(self, rows: NDArray[np.bool_], weights: NDArray[np.float64]) -> Interactions:
        return Interactions.of(
            self.users[rows],
            self.tracks[rows],
            weights,
            known_users=self.known_users,
            catalogue=self.catalogue,
            genres=self.genres,
            item_attributes=self.item_attributes,
        )

    def _called_not_useful(self, rows: NDArray[np.bool_], until: Any) -> NDArray[np.bool_]:
        """Which of these rows are of a pair that was called so before `until`."""
        given = self.not_useful.given_at < until
        if not given.any():
            return np.zeros(int(rows.sum()), bool)
        pairs = np.stack([self.not_useful.users[given], self.not_useful.tracks[given]], axis=1)
        asked = np.stack([self.users[rows], self.tracks[rows]], axis=1)
        _, numbers = np.unique(np.concatenate([pairs, asked]), axis=0, return_inverse=True)
        return np.isin(numbers[len(pairs) :], numbers[: len(pairs)])
