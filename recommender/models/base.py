"""What every model is: it learns from interactions, and names the next tracks of each user.

A new model is one file with a subclass: `_learn`, `_score`, and `_state` / `_restore` for its file. Everything else
(ids, histories, exclusion, the best n, blocks that fit into memory, files) is here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import InteractionsError, ModelError, ModelFileError
from recommender.data.interactions import Ids, Interactions
from recommender.models import file_format
from recommender.models.parallel import in_blocks
from recommender.models.top_n import exclude_pairs, rows_per_block, top_n

Params = Mapping[str, Any]
Scores = NDArray[np.float32]


class Ranking(NamedTuple):
    """The tracks of each user asked for, best first: two arrays of users x n.

    A user for whom there are fewer than n has the id -1 and the score -inf in the places left.
    """

    ids: Ids
    scores: Scores


class Recommender(ABC):
    """A model. What it learns is about tracks; what it knows of users are their plays, which can be replaced.

    `name` is its name in the registry, `params` what it was made with, as JSON would hold it.
    """

    name: ClassVar[str]
    # Whether a user without plays gets nothing from this model.
    needs_plays: ClassVar[bool] = True

    def __init__(self, **params: Any) -> None:
        self.params: Params = params
        self._track_ids: Ids = np.empty(0, np.int64)
        self._histories: Interactions = Interactions.of([], [])
        self._withdrawn: NDArray[np.intp] = np.empty(0, np.intp)

    def fit(self, interactions: Interactions) -> Self:
        """Learn from these plays, and know them as the histories of their users. Same input, same model."""
        self._train(interactions)
        return self.fold_in(interactions)

    def fold_in(self, interactions: Interactions) -> Self:
        """Keep what was learned about tracks, and take these plays as the users' histories.

        Plays of tracks that the model has not learned are left out of what it scores by, and tracks that are not
        among the columns of `interactions` are no longer recommended.
        """
        ids = interactions.user_ids
        if (ids[1:] <= ids[:-1]).any():
            raise InteractionsError("the histories of users must come in the order of their ids, each once")
        self._histories = interactions.on_tracks(self._track_ids)
        self._withdrawn = np.flatnonzero(interactions.columns_of(self._track_ids) < 0)
        self._know(self._histories)
        return self

    def recommend(self, users: ArrayLike, n: int, exclude: Interactions | None = None) -> Ranking:
        """The best n tracks of each user, of those the model learned, without the pairs of `exclude`.

        A user without plays gets nothing, unless the model `needs_plays` not. Raises ModelError when a score is NaN.
        """
        user_ids = np.asarray(users, np.int64)
        ids = np.full((len(user_ids), n), -1, np.int64)
        scores = np.full((len(user_ids), n), -np.inf, np.float32)
        served_rows = self._served(user_ids)
        if not len(served_rows):
            return Ranking(ids, scores)
        histories = self._histories.of_users(user_ids[served_rows])
        excluded = exclude.on_tracks(self._track_ids).of_users(user_ids[served_rows]) if exclude is not None else None

        def fill(block: slice) -> None:
            columns, values = self._best(histories[block], excluded[block] if excluded is not None else None, n)
            width = columns.shape[1]
            ids[served_rows[block], :width] = np.where(columns >= 0, self._track_ids[columns], -1)
            scores[served_rows[block], :width] = values

        in_blocks(fill, len(served_rows), rows_per_block(len(self._track_ids)))
        return Ranking(ids, scores)

    def _served(self, user_ids: Ids) -> NDArray[np.intp]:
        """Which of these users get something."""
        if not self.learned:
            return np.empty(0, np.intp)
        if not self.needs_plays:
            return np.arange(len(user_ids))
        plays = np.append(np.diff(self._histories.plays.indptr), 0)
        return np.flatnonzero(plays[self._histories.rows_of(user_ids)])

    def _best(self, histories: Interactions, excluded: Interactions | None, n: int) -> tuple[NDArray[np.intp], Scores]:
        scores = np.ascontiguousarray(self._score(histories), np.float32)
        if excluded is not None:
            exclude_pairs(scores, excluded.plays)
        scores[:, self._withdrawn] = -np.inf
        try:
            return top_n(scores, n)
        except FloatingPointError as error:
            raise ModelError(f"{self.name} gave {error}") from None

    def _train(self, interactions: Interactions) -> None:
        self._track_ids = interactions.track_ids
        if len(interactions):
            self._learn(interactions)

    @property
    def learned(self) -> bool:
        """Whether there was anything to learn from."""
        return bool(self._state())

    def save(self, path: Path) -> None:
        """Write what was learned, and nothing about any user, to one file; whole or not at all."""
        state = self._state()
        file_format.write(path, self.name, self.params, {"track_ids": self._track_ids, **state})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote; `fold_in` gives it the users. Raises ModelFileError."""
        content = file_format.read(path)
        content.require_model(cls.name)
        arrays = dict(content.arrays)
        try:
            model = cls(**content.params)
            model._take(arrays.pop("track_ids"), arrays)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ModelFileError(
                f"the model file {path} does not hold what {cls.name} needs ({type(error).__name__}); retrain"
            ) from error
        return model

    def _take(self, track_ids: Ids, state: dict[str, NDArray[Any]]) -> None:
        self._track_ids = track_ids
        self._histories = Interactions.of([], [], catalogue=track_ids)
        if state:
            self._restore(state)

    @abstractmethod
    def _learn(self, interactions: Interactions) -> None:
        """Learn about the tracks; there is at least one play."""

    def _know(self, histories: Interactions) -> None:  # noqa: B027, most models need no more than the plays
        """Make ready for these users, after training and whenever their plays are replaced."""

    @abstractmethod
    def _score(self, users: Interactions) -> Scores:
        """A score for each user and track, higher is better: a new array of users x tracks, float32."""

    @abstractmethod
    def _state(self) -> dict[str, NDArray[Any]]:
        """What was learned, as arrays; empty before there was anything."""

    @abstractmethod
    def _restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Take back what `_state` gave."""
