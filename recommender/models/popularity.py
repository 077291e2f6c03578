"""Popularity models: the baseline of every other model, and the fallback when no model is better."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from recommender.data.interactions import Interactions
from recommender.models.base import Recommender, Scores


class Popularity(Recommender):
    """The score of a track is the share of users who played it. All users get the same ranking."""

    name: ClassVar[str] = "popularity"
    needs_plays: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self._share = np.empty(0, np.float32)

    def _fit(self, interactions: Interactions) -> None:
        self._share = _users_per_track(interactions) / np.float32(len(interactions.users_with_plays))

    def _score(self, users: Interactions) -> Scores:
        return np.tile(self._share, (len(users.user_ids), 1))

    def _state(self) -> dict[str, NDArray[Any]]:
        return {"share": self._share} if len(self._share) else {}

    def _restore(self, state: dict[str, NDArray[Any]]) -> None:
        self._share = state["share"]


class GenrePopularity(Recommender):
    """The score of a track is the share of users with the same favourite genre who played it.

    The share is shrunk towards the overall share: `drawn_by` average users are added to each genre, so that one user
    does not dominate a small genre. A user without a known genre gets the overall share.
    """

    name: ClassVar[str] = "popularity_by_genre"
    needs_plays: ClassVar[bool] = False

    # drawn_by is untuned: 20 is also the minimum number of users of the paired bootstrap.
    def __init__(self, drawn_by: float = 20.0) -> None:
        super().__init__(drawn_by=drawn_by)
        self._drawn_by = drawn_by
        self._genres = np.empty(0, "<U1")
        self._shares = np.empty((0, 0), np.float32)

    @property
    def genres(self) -> tuple[str, ...]:
        """The fitted genres; '' is all users."""
        return tuple(map(str, self._genres))

    def _fit(self, interactions: Interactions) -> None:
        overall = _users_per_track(interactions) / np.float32(len(interactions.users_with_plays))
        self._genres = np.union1d(interactions.genres, [""])
        self._shares = np.tile(overall, (len(self._genres), 1))
        played = np.diff(interactions.plays.indptr) > 0
        for row, genre in enumerate(self._genres):
            if genre:
                rows = np.flatnonzero((interactions.genres == genre) & played)
                counts = np.bincount(interactions.plays[rows].indices, minlength=len(overall))
                self._shares[row] = (counts + self._drawn_by * overall) / np.float32(len(rows) + self._drawn_by)

    def _score(self, users: Interactions) -> Scores:
        rows = np.minimum(np.searchsorted(self._genres, users.genres), len(self._genres) - 1)
        is_fitted_genre = self._genres[rows] == users.genres
        return self._shares[np.where(is_fitted_genre, rows, 0)]  # '' sorts first

    def _state(self) -> dict[str, NDArray[Any]]:
        return {"genres": self._genres, "shares": self._shares} if len(self._shares) else {}

    def _restore(self, state: dict[str, NDArray[Any]]) -> None:
        self._genres, self._shares = state["genres"], state["shares"]


def _users_per_track(interactions: Interactions) -> NDArray[np.float32]:
    return interactions.users_per_track.astype(np.float32)
