"""Faulty models for tests. A trial imports them by name."""

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
    """Raises an error whose message contains an e-mail address."""

    name: ClassVar[str] = "raises"

    def _fit(self, interactions: Interactions) -> None:
        raise KeyError("anna@example.org")


class Refuses(Popularity):
    """Raises a ModelError."""

    name: ClassVar[str] = "refuses"

    def __init__(self, refuses: bool = True) -> None:
        super().__init__()
        self.params = {"refuses": refuses}

    def _fit(self, interactions: Interactions) -> None:
        if self.params["refuses"]:
            raise ModelError("refuses needs\nmore than this")
        super()._fit(interactions)


class Hangs(Popularity):
    """Never returns."""

    name: ClassVar[str] = "hangs"

    def _fit(self, interactions: Interactions) -> None:
        time.sleep(3600)


class EatsMemory(Popularity):
    """Allocates 16 MiB at a time, without end."""

    name: ClassVar[str] = "eats_memory"

    def _fit(self, interactions: Interactions) -> None:
        arrays = []
        while True:
            arrays.append(np.ones(2**21))
            time.sleep(0.005)


class Crashes(Popularity):
    """Crashes with a segmentation fault."""

    name: ClassVar[str] = "crashes"

    def _fit(self, interactions: Interactions) -> None:
        ctypes.string_at(0)


class Leaves(Popularity):
    """Exits with code 0 and no result."""

    name: ClassVar[str] = "leaves"

    def _fit(self, interactions: Interactions) -> None:
        os._exit(0)


class GivesNaN(Popularity):
    """Returns NaN scores, which the base class does not check."""

    name: ClassVar[str] = "gives_nan"

    def recommend(self, users: Any, n: int, exclude: Interactions | None = None) -> Ranking:
        ranking = super().recommend(users, n, exclude)
        return Ranking(ranking.ids, ranking.scores * np.float32(np.nan))


class ScoresNaN(Popularity):
    """Returns NaN scores, which the base class checks."""

    name: ClassVar[str] = "scores_nan"

    def _score(self, users: Interactions) -> Scores:
        return np.full((len(users.user_ids), len(users.track_ids)), np.nan, np.float32)


class Repeats(Popularity):
    """Recommends its best track on every rank."""

    name: ClassVar[str] = "repeats"

    def recommend(self, users: Any, n: int, exclude: Interactions | None = None) -> Ranking:
        ranking = super().recommend(users, n, exclude)
        return Ranking(np.repeat(ranking.ids[:, :1], n, axis=1), np.repeat(ranking.scores[:, :1], n, axis=1))


class NamesPlayed(Popularity):
    """Ignores `exclude`."""

    name: ClassVar[str] = "names_played"

    def recommend(self, users: Any, n: int, exclude: Interactions | None = None) -> Ranking:
        return super().recommend(users, n)


class Knows(Recommender):
    """Ranks by track id, ascending or descending."""

    name: ClassVar[str] = "knows"

    def __init__(self, upwards: bool = True) -> None:
        super().__init__(upwards=upwards)
        self._ids = np.empty(0)

    def _fit(self, interactions: Interactions) -> None:
        self._ids = interactions.track_ids.astype(np.float32) * (1 if self.params["upwards"] else -1)

    def _score(self, users: Interactions) -> Scores:
        return np.tile(self._ids, (len(users.user_ids), 1)).astype(np.float32)

    def _state(self) -> dict[str, NDArray[Any]]:
        return {"ids": self._ids} if len(self._ids) else {}

    def _restore(self, state: dict[str, NDArray[Any]]) -> None:
        self._ids = state["ids"]


class Near(Knows):
    """Ranks by the distance of the track id from a number."""

    name: ClassVar[str] = "near"

    def __init__(self, start: float, offset: float) -> None:
        super().__init__()
        self.params = {"start": start, "offset": offset}

    def _fit(self, interactions: Interactions) -> None:
        self._ids = -np.abs(interactions.track_ids - self.params["start"] - self.params["offset"]).astype(np.float32)


class Follows(Knows):
    """Ranks as `knows` with the settings of its member."""

    name: ClassVar[str] = "follows"

    def __init__(self, member: dict[str, bool]) -> None:
        super().__init__(**member)
        self._upwards = member["upwards"]
        self.params = {"member": member}

    def _fit(self, interactions: Interactions) -> None:
        self._ids = interactions.track_ids.astype(np.float32) * (1 if self._upwards else -1)


class FailsOnFour(Knows):
    """Fails on exactly four plays."""

    name: ClassVar[str] = "fails_on_four"

    def _fit(self, interactions: Interactions) -> None:
        if len(interactions) == 4:
            raise ModelError("fails_on_four cannot take four plays")
        super()._fit(interactions)
