"""The base class of all models: fit on interactions, and recommend tracks to users.

A new model is one file with a subclass that defines `_fit`, `_score`, `_state` and `_restore`. The base class handles
ids, histories, exclusions, the best n, blocks that fit into memory, and files.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from core.errors import InteractionsError, ModelError, ModelFileError
from recommender.data.interactions import Ids, Interactions
from recommender.models import file_format
from recommender.models.parallel import in_blocks
from recommender.models.top_n import exclude_pairs, rows_per_block, top_n

Params = Mapping[str, Any]
Scores = NDArray[np.float32]


class Ranking(NamedTuple):
    """The recommended tracks of each requested user, best first: two arrays of users x n.

    Empty ranks have the id -1 and the score -inf.
    """

    ids: Ids
    scores: Scores


class Recommender(ABC):
    """A model. It learns about tracks; the histories of users can be replaced without training.

    `name` is the name in the registry. `params` are the constructor arguments, JSON-serialisable. `version` rises when
    files of the model change their meaning, or its recommendations change with the same settings.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    # False for a model that also recommends to users without plays.
    needs_plays: ClassVar[bool] = True
    uses_item_attributes: ClassVar[bool] = False
    # Threads of linear algebra while fitting. Results depend on their number, so it does not depend on the machine.
    fit_threads: ClassVar[int] = 2

    def __init__(self, **params: Any) -> None:
        self.params: Params = params
        self._track_ids: Ids = np.empty(0, np.int64)
        self._histories: Interactions = Interactions.from_pairs([], [])
        self._withdrawn_columns: NDArray[np.intp] = np.empty(0, np.intp)

    def fit(self, interactions: Interactions) -> Self:
        """Fit on these plays, and take them as histories. Fitting is deterministic."""
        self.fit_tracks(interactions)
        return self.fold_in(interactions)

    def fit_tracks(self, interactions: Interactions) -> None:
        """Fit without histories; call `fold_in` before `recommend`."""
        self._track_ids = interactions.track_ids
        if len(interactions):
            with threadpool_limits(self.fit_threads, "blas"):
                self._fit(interactions)

    def fold_in(self, interactions: Interactions) -> Self:
        """Replace the histories of users without training.

        Plays of tracks that the model has not learned are ignored. Tracks that are not columns of `interactions` are
        no longer recommended.
        """
        ids = interactions.user_ids
        if (ids[1:] <= ids[:-1]).any():
            raise InteractionsError("histories must be in ascending order of user ids, one row per user")
        self._histories = interactions.select_tracks(self._track_ids)
        self._withdrawn_columns = np.flatnonzero(interactions.track_columns(self._track_ids) < 0)
        self._prepare_users(self._histories)
        return self

    def with_histories(self, interactions: Interactions) -> Self:
        """Return this model with other histories. It shares the learned arrays, and this model does not change."""
        return copy.copy(self).fold_in(interactions)

    def recommend(
        self, users: ArrayLike, n: int, exclude: Interactions | None = None, *, threads: int | None = None
    ) -> Ranking:
        """Recommend the best n learned tracks to each user, without the pairs of `exclude`.

        If the model `needs_plays`, a user without plays gets no track. It uses `threads`, by default one per core.
        Raises ModelError when a score is NaN.
        """
        user_ids = np.asarray(users, np.int64)
        ids = np.full((len(user_ids), n), -1, np.int64)
        scores = np.full((len(user_ids), n), -np.inf, np.float32)
        served_rows = self._rows_with_recommendations(user_ids)
        if not len(served_rows):
            return Ranking(ids, scores)
        histories = self._histories.select_users(user_ids[served_rows])
        excluded = (
            exclude.select_tracks(self._track_ids).select_users(user_ids[served_rows]) if exclude is not None else None
        )

        def fill(block: slice) -> None:
            columns, values = self._best(histories[block], excluded[block] if excluded is not None else None, n)
            width = columns.shape[1]
            ids[served_rows[block], :width] = np.where(columns >= 0, self._track_ids[columns], -1)
            scores[served_rows[block], :width] = values

        in_blocks(fill, len(served_rows), rows_per_block(len(self._track_ids)), threads)
        return Ranking(ids, scores)

    def _rows_with_recommendations(self, user_ids: Ids) -> NDArray[np.intp]:
        """The rows of users who get recommendations."""
        if not self.is_fitted:
            return np.empty(0, np.intp)
        if not self.needs_plays:
            return np.arange(len(user_ids))
        plays = np.append(np.diff(self._histories.plays.indptr), 0)
        return np.flatnonzero(plays[self._histories.user_rows(user_ids)])

    def _best(self, histories: Interactions, excluded: Interactions | None, n: int) -> tuple[NDArray[np.intp], Scores]:
        scores = np.ascontiguousarray(self._score(histories), np.float32)
        if excluded is not None:
            exclude_pairs(scores, excluded.plays)
        scores[:, self._withdrawn_columns] = -np.inf
        try:
            return top_n(scores, n)
        except FloatingPointError as error:
            raise ModelError(f"{self.name} gave {error}") from None

    @property
    def track_ids(self) -> Ids:
        """The learned tracks, in ascending order."""
        return self._track_ids

    @property
    def is_fitted(self) -> bool:
        """Whether the model was fitted on at least one play."""
        return bool(self._state())

    def save(self, path: Path) -> None:
        """Write the learned arrays to one file, atomically. The file contains no user data."""
        state = self._state()
        arrays = {"track_ids": self._track_ids, **state}
        file_format.write(path, self.name, self.version, self.params, arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file of `save`; call `fold_in` before `recommend`. Raises ModelFileError."""
        content = file_format.read(path)
        content.require_model(cls.name, cls.version)
        arrays = dict(content.arrays)
        try:
            model = cls(**content.params)
            model._load_state(arrays.pop("track_ids"), arrays)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ModelFileError(
                f"the model file {path} does not contain a valid {cls.name} model ({type(error).__name__}); retrain"
            ) from error
        return model

    def learned(self) -> LearnedModel:
        """The learned state without histories: as little as `save` writes, to send it to another process."""
        return LearnedModel(type(self), self.params, self._track_ids, self._state())

    def _load_state(self, track_ids: Ids, state: dict[str, NDArray[Any]]) -> None:
        self._track_ids = track_ids
        self._histories = Interactions.from_pairs([], [], catalogue=track_ids)
        if state:
            self._restore(state)

    def __copy__(self) -> Self:
        """Return a model with the same arrays, which is not built again as `__reduce__` would."""
        model = type(self).__new__(type(self))
        model.__dict__.update(self.__dict__)
        return model

    @abstractmethod
    def _fit(self, interactions: Interactions) -> None:
        """Learn from interactions with at least one play."""

    def _prepare_users(self, histories: Interactions) -> None:  # noqa: B027, optional
        """Prepare for these histories. Called after fitting, and whenever histories are replaced."""

    @abstractmethod
    def _score(self, users: Interactions) -> Scores:
        """Return a new float32 array of users x tracks. A higher score is better."""

    @abstractmethod
    def _state(self) -> dict[str, NDArray[Any]]:
        """The learned arrays; empty before fitting."""

    @abstractmethod
    def _restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Restore the arrays of `_state`."""


@dataclass(frozen=True, eq=False)
class LearnedModel:
    """The learned state of a model: its class and params, the tracks and the arrays of `_state`."""

    model_class: type[Recommender]
    params: Params
    track_ids: Ids
    arrays: Mapping[str, NDArray[Any]]

    def restore(self) -> Recommender:
        """Return the model; call `fold_in` before `recommend`."""
        model = self.model_class(**self.params)
        model._load_state(self.track_ids, dict(self.arrays))
        return model
