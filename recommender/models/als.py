"""Alternating least squares: users and tracks as vectors whose products say who would play what (Hu 2008)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from core.errors import ModelError
from recommender.data.interactions import Interactions
from recommender.models.base import Recommender, Scores
from recommender.models.scaling import weighted

_NOT_LOADED = ""
try:
    from implicit.cpu.als import AlternatingLeastSquares
except (ImportError, OSError) as error:  # its compiled part misses a library: the other models go on
    _NOT_LOADED = " ".join(str(error).split())


class ALS(Recommender):
    """`implicit`'s factors of log1p(plays).

    `alpha` is how much more a play counts than its absence. `regularization` draws all vectors towards zero; it is
    relative to how much is known, so that one setting suits small and large data: `implicit` gets it times the
    geometric mean of what the confidences of an average user, and of an average track, add up to.

    Only the vectors of tracks are learned; that of a user is solved exactly from their plays, so that new
    users and new plays are served without training.
    """

    name: ClassVar[str] = "als"

    def __init__(
        self,
        factors: int = 64,  # untuned: the size measured in docs/benchmarks.md ("scoring"); the search tries 32 to 256
        regularization: float = 0.1,  # docs/models.md ("als"): good values lie between 0.05 and 0.2
        alpha: float = 1.0,  # untuned: the default of `implicit`
        iterations: int = 15,  # untuned: the default of `implicit`
        seed: int = 0,
    ) -> None:
        super().__init__(factors=factors, regularization=regularization, alpha=alpha, iterations=iterations, seed=seed)
        self._tracks = np.empty((0, factors), np.float32)
        self._strength = 0.0
        self._users = np.empty((0, factors), np.float32)

    def _learn(self, interactions: Interactions) -> None:
        confidences = _confidences(interactions)
        known = self.params["alpha"] * confidences.sum() / _geometric_size(interactions)
        self._strength = float(np.float32(self.params["regularization"] * known))
        with self._solver() as solver:
            try:
                solver.fit(confidences, show_progress=False)
            except Exception as error:
                raise ModelError(f"{self.name} cannot learn ({error}); try a higher regularization") from error
        self._tracks = solver.item_factors

    def _know(self, histories: Interactions) -> None:
        self._users = np.zeros((len(histories.user_ids), self._tracks.shape[1]), np.float32)
        if self.learned and len(histories):
            with self._solver() as solver:
                solver.item_factors = self._tracks
                rows = np.arange(len(histories.user_ids))
                self._users = solver.recalculate_user(rows, _confidences(histories))

    def _score(self, users: Interactions) -> Scores:
        scores: Scores = self._users[self._histories.rows_of(users.user_ids)] @ self._tracks.T
        return scores

    def _state(self) -> dict[str, NDArray[Any]]:
        if not len(self._tracks):
            return {}
        return {"tracks": self._tracks, "strength": np.array([self._strength], np.float32)}

    def _restore(self, state: dict[str, NDArray[Any]]) -> None:
        self._tracks, self._strength = state["tracks"], float(state["strength"][0])

    @contextmanager
    def _solver(self) -> Iterator[AlternatingLeastSquares]:
        """Raises ModelError where `implicit` cannot be loaded."""
        if _NOT_LOADED:
            raise ModelError(
                f"{self.name} needs the package implicit, which cannot be loaded ({_NOT_LOADED}); its compiled part "
                "needs GNU OpenMP: install libgomp1"
            )
        with threadpool_limits(1, "blas"):  # implicit has threads of its own
            yield AlternatingLeastSquares(
                factors=self.params["factors"],
                regularization=self._strength,
                alpha=self.params["alpha"],
                iterations=self.params["iterations"],
                random_state=self.params["seed"],
            )


def _confidences(interactions: Interactions) -> csr_matrix:
    """log1p(plays) as `implicit` wants it: csr_matrix of float32 with indices of 32 bits."""
    weights = weighted(interactions.plays, "log1p")
    indices, indptr = weights.indices.astype(np.int32), weights.indptr.astype(np.int32)
    return csr_matrix((weights.data, indices, indptr), shape=weights.shape)


def _geometric_size(interactions: Interactions) -> float:
    """The geometric mean of the numbers of users and of tracks that have plays."""
    tracks = np.count_nonzero(np.bincount(interactions.plays.indices))
    return float(np.sqrt(len(interactions.users_with_plays) * tracks))
