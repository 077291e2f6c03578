"""Plays and negative feedback with their times. Interactions as of any time are built from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import InteractionsError
from recommender.data.interactions import Ids, Interactions, ItemAttributes, in_parts, positions_in

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

    A split puts a row on one side as a whole, so a row must not sum plays over weeks. Ids and plays may be of 32 bits.
    Rows by ascending user need the least memory. `known_users`, `catalogue`,
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
        end = np.datetime64(before, "us")  # type: ignore[call-overload]
        plays = self.plays if weighting == AS_PLAYED else self._weights(end, weighting)
        return self._from_rows(self.played_at < end, plays)

    def interactions_from(self, start: ArrayLike) -> Interactions:
        """Build the interactions from plays at or after the time `start`."""
        rows = self.played_at >= np.datetime64(start, "us")  # type: ignore[call-overload]
        return self._from_rows(rows, self.plays)

    def _from_rows(self, rows: NDArray[np.bool_], plays: NDArray[Any]) -> Interactions:
        is_whole = bool(rows.all())  # then nothing needs a copy
        return Interactions.from_pairs(
            self.users if is_whole else self.users[rows],
            self.tracks if is_whole else self.tracks[rows],
            plays if is_whole else plays[rows],
            known_users=self.known_users,
            catalogue=self.catalogue,
            genres=self.genres,
            item_attributes=self.item_attributes,
        )

    def _weights(self, end: Any, weighting: PlayWeighting) -> NDArray[np.float32]:
        """The weight of each row at the time `end`; without meaning for later rows."""
        weights = np.empty(len(self.users), np.float32)
        negative_pairs = self._negative_pairs(end) if weighting.without_not_useful else None
        for part in in_parts(len(weights)):
            values = np.asarray(self.plays[part], np.float64)
            if weighting.half_life_days is not None:
                age = (end - self.played_at[part].astype("datetime64[us]")) / np.timedelta64(1, "s") / _SECONDS_A_DAY
                # Never zero, because an old play is still an interaction.
                values = values * np.maximum(np.exp2(-np.maximum(age, 0) / weighting.half_life_days), 1e-6)
            if negative_pairs is not None:
                values = np.where(negative_pairs.contain(self.users[part], self.tracks[part]), 0.0, values)
            weights[part] = values
        return weights

    def _negative_pairs(self, end: Any) -> _Pairs:
        """The pairs of user and track that the user called not useful before `end`."""
        earlier = self.not_useful.given_at < end
        return _Pairs.of(self.not_useful.users[earlier], self.not_useful.tracks[earlier])


@dataclass(frozen=True, eq=False)
class _Pairs:
    """A set of pairs of user and track; a pair is numbered by the positions of both."""

    users: Ids
    tracks: Ids
    numbers: NDArray[np.intp]

    @classmethod
    def of(cls, users: Ids, tracks: Ids) -> _Pairs:
        distinct_users, distinct_tracks = np.unique(users), np.unique(tracks)
        rows, columns = positions_in(distinct_users, users), positions_in(distinct_tracks, tracks)
        return cls(distinct_users, distinct_tracks, np.unique(rows * len(distinct_tracks) + columns))

    def contain(self, users: Ids, tracks: Ids) -> NDArray[np.bool_]:
        """Whether each pair is in the set."""
        rows, columns = positions_in(self.users, users), positions_in(self.tracks, tracks)
        is_numbered = np.isin(rows * len(self.tracks) + columns, self.numbers)
        return np.asarray(is_numbered & (rows >= 0) & (columns >= 0), bool)
