"""Plays and negative feedback with their times. Interactions as of any time are built from them."""

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
    """How plays are weighted. By default each play counts as one.

    `half_life_days`: the weight of a play halves after this many days. `without_not_useful`: plays of tracks that the
    user called not useful do not count.
    """

    half_life_days: float | None = None
    without_not_useful: bool = False

    def __str__(self) -> str:
        parts = [f"half-life {self.half_life_days:g} days"] if self.half_life_days is not None else []
        return ", ".join(parts + ["without not useful"] * self.without_not_useful) or "as played"


AS_PLAYED = PlayWeighting()
# After listening has changed, old plays predict little.
SHORT_MEMORY = PlayWeighting(half_life_days=7)
# The model search tries these for the best model, and keeps one only if it wins.
WEIGHTINGS_TO_TRY = tuple(PlayWeighting(half_life_days=days) for days in (7, 30, 90, 365))
WEIGHTINGS_TO_TRY_WITH_FEEDBACK = (*WEIGHTINGS_TO_TRY, PlayWeighting(without_not_useful=True))


@dataclass(frozen=True, eq=False)
class NegativeFeedback:
    """One row per feedback that calls a track not useful, with its time in UTC."""

    users: Ids = field(default_factory=_NO_IDS.copy)
    tracks: Ids = field(default_factory=_NO_IDS.copy)
    given_at: Times = field(default_factory=_NO_TIMES.copy)


@dataclass(frozen=True, eq=False)
class PlayLog:
    """One row per user, track and time: a play, or the plays of one day. Times are UTC.

    A split puts a row on one side as a whole, so a row must not sum plays over weeks. `known_users`, `catalogue`,
    `genres` and `item_attributes` have the meaning of `Interactions.from_pairs`, and must not depend on plays after a
    split.
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
            raise InteractionsError("every play and every feedback needs a time")

    def interactions(self, before: ArrayLike, weighting: PlayWeighting = AS_PLAYED) -> Interactions:
        """Build the interactions from plays and feedback before the time `before`."""
        until = np.datetime64(before, "us")  # type: ignore[call-overload]
        rows = self.played_at < until
        weights = np.asarray(self.plays, np.float64)[rows]
        if weighting.half_life_days is not None:
            age = (until - self.played_at[rows].astype("datetime64[us]")) / np.timedelta64(1, "s") / _SECONDS_A_DAY
            # Never zero, because an old play is still an interaction.
            weights = weights * np.maximum(np.exp2(-age / weighting.half_life_days), 1e-6)
        if weighting.without_not_useful:
            weights = np.where(self._called_not_useful(rows, until), 0.0, weights)
        return self._from_rows(rows, weights)

    def interactions_from(self, start: ArrayLike) -> Interactions:
        """Build the interactions from plays at or after the time `start`."""
        rows = self.played_at >= np.datetime64(start, "us")  # type: ignore[call-overload]
        return self._from_rows(rows, np.asarray(self.plays, np.float64)[rows])

    def _from_rows(self, rows: NDArray[np.bool_], weights: NDArray[np.float64]) -> Interactions:
        return Interactions.from_pairs(
            self.users[rows],
            self.tracks[rows],
            weights,
            known_users=self.known_users,
            catalogue=self.catalogue,
            genres=self.genres,
            item_attributes=self.item_attributes,
        )

    def _called_not_useful(self, rows: NDArray[np.bool_], until: Any) -> NDArray[np.bool_]:
        """Whether the user called the track not useful before `until`, for each row."""
        earlier = self.not_useful.given_at < until
        if not earlier.any():
            return np.zeros(int(rows.sum()), bool)
        negative_pairs = np.stack([self.not_useful.users[earlier], self.not_useful.tracks[earlier]], axis=1)
        played_pairs = np.stack([self.users[rows], self.tracks[rows]], axis=1)
        _, numbers = np.unique(np.concatenate([negative_pairs, played_pairs]), axis=0, return_inverse=True)
        return np.isin(numbers[len(negative_pairs) :], numbers[: len(negative_pairs)])
