"""Models that go wrong, each in its own way. A trial imports them by name."""

from __future__ import annotations

import ctypes
import os
import time
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from core.errors import ModelError
from recommender.data.interactions import Interactions
from recommender.models.base import Ranking, Recommender, Scores
from recommender.models.popularity import Popularity


class Raises(Popularity):
    """Quotes somebody in its message."""

    name: ClassVar[str] = "raises"

    def _fit(self, interactions: Interactions) -> None:
        raise KeyError("anna@example.org")


class Refuses(Popularity):
    """Says why, in our own words."""

    name: ClassVar[str] = "refuses"

    def __init__(self, refuses: bool = True) -> None:
        super().__init__()
        self.params = {"refuses": refuses}

    def _fit(self, interactions: Interactions) -> None:
        if self.params["refuses"]:
            raise ModelError("refuses needs\nmore than this")
        super()._fit(interactions)


class Hangs(Popularity):
    """Never comes back."""

    name: ClassVar[str] = "hangs"

    def _fit(self, interactions: Interactions) -> None:
        time.sleep(3600)


class EatsMemory(Popularity):
    """Takes 16 MiB at a time."""

    name: ClassVar[str] = "eats_memory"

    def _fit(self, interactions: Interactions) -> None:
        eaten = []
        while True:
            eaten.append(np.ones(2**21))
            time.sleep(0.005)


class Crashes(Popularity):
    """Reads what it must not."""

    name: ClassVar[str] = "crashes"

    def _fit(self, interactions: Interactions) -> None:
        ctypes.string_at(0)


class Leaves(Popularity):
    """Ends as if all were well."""

    name: ClassVar[str] = "leaves"

    def _fit(self, interactions: Interactions) -> None:
        os._exit(0)


class GivesNaN(Popularity):
    """Scores that are no numbers, behind the back of the base class."""

    name: ClassVar[str] = "gives_nan"

    def recommend(self, users: Any, n: int, exclude: Interactions | None = None) -> Ranking:
        ranking = super().recommend(users, n, exclude)
        return Ranking(ranking.ids, ranking.scores * np.float32(np.nan))


class ScoresNaN(Popularity):
    """Scores that are no numbers, where the base class sees them."""

    name: ClassVar[str] = "scores_nan"

    def _score(self, listeners: Interactions) -> Scores:
        return np.full((len(listeners.user_ids), len(listeners.track_ids)), np.nan, np.float32)


class Repeats(Popularity):
    """Names its best track in every place."""

    name: ClassVar[str] = "repeats"

    def recommend(self, users: Any, n: int, exclude: Interactions | None = None) -> Ranking:
        ranking = super().recommend(users, n, exclude)
        return Ranking(np.repeat(ranking.ids[:, :1], n, axis=1), np.repeat(ranking.scores[:, :1], n, axis=1))


class NamesPlayed(Popularity):
    """Does not leave out what it must."""

    name: ClassVar[str] = "names_played"

    def recommend(self, users: Any, n: int, exclude: Interactions | None = None) -> Ranking:
        return super().recommend(users, n)


class Knows(Recommender):
    """Ranks by track id: the higher, the better; or the lower."""

    name: ClassVar[str] = "knows"

    def __init__(self, upwards: bool = True) -> None:
        super().__init__(upwards=upwards)
        self._ids = np.empty(0)

    def _fit(self, interactions: Interactions) -> None:
        self._ids = interactions.track_ids.astype(np.float32) * (1 if self.params["upwards"] else -1)

    def _score(self, listeners: Interactions) -> Scores:
        return np.tile(self._ids, (len(listeners.user_ids), 1)).astype(np.float32)

    def _state(self) -> dict[str, NDArray[Any]]:
        return {"ids": self._ids} if len(self._ids) else {}

    def _restore(self, state: dict[str, NDArray[Any]]) -> None:
        self._ids = state["ids"]


class Near(Knows):
    """Ranks by how near a track's id is to a number."""

    name: ClassVar[str] = "near"

    def __init__(self, start: float, more: float) -> None:
        super().__init__()
        self.params = {"start": start, "more": more}

    def _fit(self, interactions: Interactions) -> None:
        self._ids = -np.abs(interactions.track_ids - self.params["start"] - self.params["more"]).astype(np.float32)


class FailsOnFour(Knows):
    """Learns from three plays, not from four."""

    name: ClassVar[str] = "fails_on_four"

    def _fit(self, interactions: Interactions) -> None:
        if len(interactions) == 4:
            raise ModelError("fails_on_four cannot take four plays")
        super()._fit(interactions)
