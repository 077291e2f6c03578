"""Popularity: what most users play. The measure of every other model, and what is left when none is better."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from recommender.data.interactions import Interactions
from recommender.models.base import Recommender, Scores


class Popularity(Recommender):
    """The share of users who played a track, the same for everyone."""

    name: ClassVar[str] = "popularity"
    needs_plays: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self._share = np.empty(0, np.float32)

    def _learn(self, interactions: Interactions) -> None:
        self._share = _users_of_tracks(interactions) / np.float32(len(interactions.users_with_plays))

    def _score(self, users: Interactions) -> Scores:
        return np.tile(self._share, (len(users.user_ids), 1))

    def _state(self) -> dict[str, NDArray[Any]]:
        return {"share": self._share} if len(self._share) else {}

    def _restore(self, state: dict[str, NDArray[Any]]) -> None:
        self._share = state["share"]


class GenrePopularity(Recommender):
    """The share of users with the same favourite genre who played a track, drawn towards that of everyone.

    `drawn_by` users of everyone are added to those of each genre, so that a genre of few users is not decided
    by one of them. A user whose genre is not known has the share of everyone.
    """

    name: ClassVar[str] = "popularity_by_genre"
    needs_plays: ClassVar[bool] = False

    # drawn_by is untuned: 20 users are also the fewest that the paired bootstrap compares on.
    def __init__(self, drawn_by: float = 20.0) -> None:
        super().__init__(drawn_by=drawn_by)
        self._drawn_by = drawn_by
        self._genres = np.empty(0, "<U1")
        self._shares = np.empty((0, 0), np.float32)

    @property
    def genres(self) -> tuple[str, ...]:
        """The genres it knows; '' is everyone."""
        return tuple(map(str, self._genres))

    def _learn(self, interactions: Interactions) -> None:
        everyone = _users_of_tracks(interactions) / np.float32(len(interactions.users_with_plays))
        self._genres = np.union1d(interactions.genres, [""])
        self._shares = np.tile(everyone, (len(self._genres), 1))
        played = np.diff(interactions.plays.indptr) > 0
        for line, genre in enumerate(self._genres):
            if genre:
                rows = np.flatnonzero((interactions.genres == genre) & played)
                counts = np.bincount(interactions.plays[rows].indices, minlength=len(everyone))
                self._shares[line] = (counts + self._drawn_by * everyone) / np.float32(len(rows) + self._drawn_by)

    def _score(self, users: Interactions) -> Scores:
        lines = np.minimum(np.searchsorted(self._genres, users.genres), len(self._genres) - 1)
        known = self._genres[lines] == users.genres
        return self._shares[np.where(known, lines, 0)]  # '' sorts first

    def _state(self) -> dict[str, NDArray[Any]]:
        return {"genres": self._genres, "shares": self._shares} if len(self._shares) else {}

    def _restore(self, state: dict[str, NDArray[Any]]) -> None:
        self._genres, self._shares = state["genres"], state["shares"]


def _users_of_tracks(interactions: Interactions) -> NDArray[np.float32]:
    counts = np.bincount(interactions.plays.indices, minlength=len(interactions.track_ids))
    return counts.astype(np.float32)
