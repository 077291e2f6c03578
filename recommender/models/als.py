"""Alternating least squares: the product of a user vector and a track vector is the score (Hu 2008)."""

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
except (ImportError, OSError) as error:  # a library of its compiled part is missing; other models still work
    _NOT_LOADED = " ".join(str(error).split())


class ALS(Recommender):
    """The factorization of `implicit` on log1p(plays).

    `alpha` is the weight of a play relative to an absent play. `regularization` shrinks all vectors. It is relative to
    the data, so that a setting suits small and large data: `implicit` gets `regularization` times the geometric mean of
    the summed confidence of an average user and an average track.

    The model stores track vectors only. A user vector is solved exactly from the user's plays, so new users and new
    plays need no training.
    """

    name: ClassVar[str] = "als"

    def __init__(
        self,
        factors: int = 64,  # untuned: the size measured in docs/benchmarks.md ("scoring"); the search tries 64 to 256
        regularization: float = 0.1,  # docs/models.md ("als"): good values lie between 0.05 and 0.4
        alpha: float = 1.0,  # the default of `implicit`; the search tries 10 and 40
        iterations: int = 15,  # untuned: the default of `implicit`
        seed: int = 0,
    ) -> None:
        super().__init__(factors=factors, regularization=regularization, alpha=alpha, iterations=iterations, seed=seed)
        self._set_tracks(np.empty((0, factors), np.float32))
        self._strength = 0.0
        self._users = np.empty((0, factors), np.float32)

    def _fit(self, interactions: Interactions) -> None:
        confidences = _confidences(interactions)
        mean_confidence = self.params["alpha"] * confidences.sum() / _geometric_size(interactions)
        self._strength = float(np.float32(self.params["regularization"] * mean_confidence))
        with self._solver() as solver:
            try:
                solver.fit(confidences, show_progress=False)
            except Exception as error:
                raise ModelError(f"{self.name} cannot be fitted ({error}); try a higher regularization") from error
            self._set_tracks(solver.item_factors)

    def _set_tracks(self, tracks: NDArray[np.float32]) -> None:
        """Set Y, and compute YᵀY once: solving user vectors needs it, and it is large work."""
        self._tracks = tracks
        with threadpool_limits(1, "blas"):
            self._squared_tracks: NDArray[np.float32] = tracks.T @ tracks

    def _prepare_users(self, histories: Interactions) -> None:
        self._users = np.zeros((len(histories.user_ids), self._tracks.shape[1]), np.float32)
        if self.is_fitted and len(histories):
            with self._solver() as solver:
                solver.item_factors, solver._YtY = self._tracks, self._squared_tracks
                rows = np.arange(len(histories.user_ids))
                self._users = solver.recalculate_user(rows, _confidences(histories))

    def _score(self, users: Interactions) -> Scores:
        scores: Scores = self._users[self._histories.user_rows(users.user_ids)] @ self._tracks.T
        return scores

    def _state(self) -> dict[str, NDArray[Any]]:
        if not len(self._tracks):
            return {}
        return {"tracks": self._tracks, "strength": np.array([self._strength], np.float32)}

    def _restore(self, state: dict[str, NDArray[Any]]) -> None:
        self._set_tracks(state["tracks"])
        self._strength = float(state["strength"][0])

    @contextmanager
    def _solver(self) -> Iterator[AlternatingLeastSquares]:
        """Yield a solver of `implicit`. Raises ModelError when `implicit` cannot be loaded."""
        if _NOT_LOADED:
            raise ModelError(
                f"{self.name} needs the package implicit, which cannot be loaded ({_NOT_LOADED}); its compiled part "
                "needs GNU OpenMP: install libgomp1"
            )
        with threadpool_limits(1, "blas"):  # implicit runs its own threads
            yield AlternatingLeastSquares(
                factors=self.params["factors"],
                regularization=self._strength,
                alpha=self.params["alpha"],
                iterations=self.params["iterations"],
                random_state=self.params["seed"],
            )


def _confidences(interactions: Interactions) -> csr_matrix:
    """log1p(plays) in the format of `implicit`: a csr_matrix of float32 with 32-bit indices."""
    weights = weighted(interactions.plays, "log1p")
    indices, indptr = weights.indices.astype(np.int32), weights.indptr.astype(np.int32)
    return csr_matrix((weights.data, indices, indptr), shape=weights.shape)


def _geometric_size(interactions: Interactions) -> float:
    """The geometric mean of the number of users with plays and the number of tracks with plays."""
    tracks = np.count_nonzero(np.bincount(interactions.plays.indices))
    return float(np.sqrt(len(interactions.users_with_plays) * tracks))
