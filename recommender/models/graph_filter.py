"""Graph filter: a low-pass filter on the graph of tracks with common users, plus a sharpening term.

Sources: Shen 2021 (GF-CF) and Choi 2023 (BSPM).
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import sgemm
from scipy.sparse import csr_array

from recommender.data.interactions import Interactions
from recommender.models.base import Recommender, Scores
from recommender.models.scaling import Weighting, column_sums, power, row_sums, scaled, weighted
from recommender.models.singular_vectors import right_singular


class GraphFilter(Recommender):
    """Scores (r P - `sharpening` r P²) d^`popularity` + `low_pass` r d^-½ V Vᵀ d^½.

    r is the user's row of R, which is 1 for each played track. d is the number of users of each track.
    N = Du^-½ R d^-½ has rows and columns scaled by their sums; P = NᵀN. V are the first `rank` right singular vectors
    of N, and S their singular values. V Vᵀ is the low pass, and P² is approximated by V S⁴ Vᵀ.
    """

    name: ClassVar[str] = "graph_filter"

    def __init__(
        self,
        rank: int = 256,  # Shen 2021 (GF-CF); the search tries 128 and 64
        sharpening: float = 0.8,  # untuned: no experiment is on record; Choi 2023 (BSPM) gives the form
        low_pass: float = 0.45,  # untuned: no experiment is on record; Shen 2021 (GF-CF) gives the form
        popularity: float = 0.3,  # untuned: no experiment is on record
        weighting: Weighting = "binary",  # Shen 2021 (GF-CF); "log1p" won twice in docs/benchmarks.md
        seed: int = 0,
    ) -> None:
        super().__init__(
            rank=rank,
            sharpening=sharpening,
            low_pass=low_pass,
            popularity=popularity,
            weighting=weighting,
            seed=seed,
        )
        self._arrays: dict[str, NDArray[Any]] = {}

    def _fit(self, interactions: Interactions) -> None:
        plays = interactions.plays[np.flatnonzero(np.diff(interactions.plays.indptr))]
        weights = weighted(plays, self.params["weighting"])
        sums = column_sums(weights)
        graph = scaled(weights, power(row_sums(weights), -0.5), power(sums, -0.5))
        vectors, values = right_singular(graph, self.params["rank"], self.params["seed"])
        self._restore(
            {
                "sums": sums,
                "vectors": vectors,
                "values": values,
                "data": graph.data,
                "indices": graph.indices,
                "indptr": graph.indptr,
            }
        )

    def _score(self, users: Interactions) -> Scores:
        weights = weighted(users.plays, self.params["weighting"])
        # This product is sparse, because plays reach few other users. The next product is dense.
        reached = np.ascontiguousarray((weights @ self._graph_by_track).toarray().T)
        scores: Scores = np.ascontiguousarray((self._lifted @ reached).T)
        low = np.hstack([(weights @ self._vectors) * self._sharpen, self._smoothed(weights) @ self._vectors])
        # Add to the scores in place. BLAS sees the arrays transposed.
        sgemm(1.0, self._passed.T, low.T, beta=1.0, c=scores.T, trans_a=True, overwrite_c=True)
        return scores

    def _state(self) -> dict[str, NDArray[Any]]:
        return self._arrays

    def _restore(self, state: dict[str, NDArray[Any]]) -> None:
        self._arrays = state
        sums, self._vectors = state["sums"], state["vectors"]
        shape = (len(state["indptr"]) - 1, len(sums))
        graph = csr_array((state["data"], state["indices"], state["indptr"]), shape=shape)
        self._graph_by_track = graph.T.tocsr()
        lift = power(sums, self.params["popularity"])
        # Fold the lift into the last factor of each product, which saves a pass over the scores.
        self._lifted = scaled(self._graph_by_track, lift, np.ones(shape[0], np.float32))
        self._passed = np.hstack([self._vectors * lift[:, None], self._vectors * power(sums, 0.5)[:, None]])
        self._sharpen = np.float32(-self.params["sharpening"]) * state["values"] ** 4
        self._smooth = np.float32(self.params["low_pass"]) * power(sums, -0.5)

    def _smoothed(self, weights: csr_array) -> csr_array:
        """`low_pass` r d^-½."""
        return scaled(weights, np.ones(weights.shape[0], np.float32), self._smooth)
