"""Chebyshev filter: a filter on the graph of tracks with common users, whose response falls slowly at first.

Source: C. Kim et al.: Graph spectral filtering with Chebyshev interpolation for recommendation, SIGIR 2025 (ChebyCF).
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.polynomial import Chebyshev, Legendre
from numpy.typing import NDArray
from scipy.linalg.blas import sgemm
from scipy.sparse import csr_array

from recommender.data.interactions import Interactions
from recommender.models.base import Recommender, Scores
from recommender.models.scaling import Weighting, column_sums, power, row_sums, scaled, weighted
from recommender.models.singular_vectors import right_singular

ORDER = 8  # ChebyCF, for the check-ins of Gowalla
FLATNESS = 1.5  # likewise
_LINE_NODES = 16  # Gauss nodes: exact for the product of a polynomial of degree 8 and a line


class ChebyshevFilter(Recommender):
    """Scores d^b [c1 P + V diag(h(S²) - c0 - c1 S² + `low_pass`) Vᵀ] d^-b r, with b = `popularity`.

    r is the user's row of R, which is 1 for each played track; d has the column sums of R. N = Du^-½ R d^-½ has rows
    and columns scaled by their sums; P = NᵀN. V are the first `rank` right singular vectors of N, S their singular
    values, and h is `transfer`. The line c0 + c1 x approximates h on the rest of the spectrum, from 0 to the square of
    the last singular value, so h(P) needs one sparse and one dense product. The term c0 r is left out, because it
    changes only the scores of tracks that the user has played.
    """

    name: ClassVar[str] = "chebyshev"

    def __init__(
        self,
        rank: int = 512,  # ChebyCF
        low_pass: float = 0.2,  # ChebyCF
        popularity: float = 0.4,  # ChebyCF; docs/models.md ("chebyshev") says why it is not searched
        weighting: Weighting = "binary",  # ChebyCF; the search tries "log1p"
        seed: int = 0,
    ) -> None:
        super().__init__(rank=rank, low_pass=low_pass, popularity=popularity, weighting=weighting, seed=seed)
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
        signal = scaled(
            weighted(users.plays, self.params["weighting"]), np.ones(users.plays.shape[0], np.float32), self._lower
        )
        # This product is sparse, because plays reach few other users. The next product is dense.
        reached = np.ascontiguousarray((signal @ self._graph_by_track).toarray().T)
        scores: Scores = np.ascontiguousarray((self._lifted_graph @ reached).T)
        filtered = (signal @ self._vectors) * self._response
        # Add to the scores in place. BLAS sees the arrays transposed.
        sgemm(1.0, self._lifted_vectors.T, filtered.T, beta=1.0, c=scores.T, trans_a=True, overwrite_c=True)
        return scores

    def _state(self) -> dict[str, NDArray[Any]]:
        return self._arrays

    def _restore(self, state: dict[str, NDArray[Any]]) -> None:
        sums, self._vectors = state["sums"], state["vectors"]
        shape = (len(state["indptr"]) - 1, len(sums))
        graph = csr_array((state["data"], state["indices"], state["indptr"]), shape=shape)
        squares = state["values"].astype(np.float64) ** 2
        constant, slope = line_through(transfer(), float(squares[-1]))
        response = transfer()(squares) - constant - slope * squares + self.params["low_pass"]
        self._response = response.astype(np.float32)
        self._graph_by_track = graph.T.tocsr()
        # Fold the lift and the slope into the last factors, which saves passes over the scores.
        lift = power(sums, self.params["popularity"])
        self._lower = power(sums, -self.params["popularity"])
        self._lifted_graph = scaled(self._graph_by_track, np.float32(slope) * lift, np.ones(shape[0], np.float32))
        self._lifted_vectors = self._vectors * lift[:, None]
        self._arrays = state


def transfer() -> Chebyshev:
    """The response h to an eigenvalue p of P: a polynomial of degree 8 that approximates the plateau of ChebyCF.

    The plateau is ½ + ½ (2p - 1)^1.5 above ½, else ½ - ½ (1 - 2p)^1.5. As in the published code, h has the plateau's
    values of the Lobatto points cos(k pi / 8) at the nearby Gauss nodes cos((k + ½) pi / 9). This makes h nearly linear
    for small eigenvalues, where exact values would give it a steep start.
    """
    order = np.arange(ORDER + 1)
    points = np.cos(order * np.pi / ORDER)  # of 1 - 2p: from the smallest to the largest eigenvalue
    plateau = 0.5 - 0.5 * np.sign(points) * np.abs(points) ** FLATNESS
    angles = (order + 0.5) * np.pi / (ORDER + 1)
    coefficients = 2 / (ORDER + 1) * np.cos(order[:, None] * angles) @ plateau
    coefficients[0] /= 2
    return Chebyshev(coefficients, domain=[0, 1], window=[1, -1])


def line_through(response: Chebyshev, end: float) -> tuple[float, float]:
    """Constant and slope of the least-squares line through `response` on 0 to `end`."""
    nodes, weights = np.polynomial.legendre.leggauss(_LINE_NODES)
    values = response((nodes + 1) / 2 * end)
    projection = [weights @ values / 2, 3 / 2 * weights @ (nodes * values)]
    constant, slope = Legendre(projection, domain=[0, end]).convert(domain=[-1, 1], kind=np.polynomial.Polynomial).coef
    return float(constant), float(slope)
