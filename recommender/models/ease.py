"""Kernel EASE: ridge regression predicts each track from all others, in closed form (Steck 2019)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import spotrf, spotri
from scipy.sparse import csr_array

from core.errors import ModelError
from recommender.data.interactions import Interactions
from recommender.models.base import Recommender, Scores
from recommender.models.scaling import Sums, Weighting, column_sums, power, row_sums, scaled, weighted

MAX_MATRIX_MB = 800.0
"""The default limit of the inverted matrix: 14,000 users or tracks. A trial stays within its 2,048 MiB."""

_ROWS_AT_ONCE = 256


class EASE(Recommender):
    """Scores z B, where B minimises |Z - Z B|² + lambda |B|² with a zero diagonal.

    Z is the users x tracks matrix of weights. Each row is divided by its sum to the power `user_exponent`, each column
    by its sum to the power `item_exponent`. Scores are multiplied by the column's sum to the power `popularity`
    (a `popularity` equal to `item_exponent` undoes the scaling). lambda is `ridge` times the mean squared row length.

    With P the inverse of ZᵀZ + lambda, B = I - P / diag(P). With fewer users than tracks, P is not computed: by the
    Woodbury identity lambda P = I - Zᵀ K Z, where K is the inverse of ZZᵀ + lambda (users x users). Time grows with
    the cube of the smaller side, memory with its square. Fitting is refused above `max_matrix_mb` (float32).
    """

    name: ClassVar[str] = "ease"

    def __init__(
        self,
        ridge: float = 3.0,  # docs/benchmarks.md ("Recommending"): chosen wherever EASE won, of 1 to 100
        user_exponent: float = 0.5,  # untuned: no experiment is on record; docs/models.md ("ease") gives the reason
        item_exponent: float = 0.25,  # untuned: likewise
        popularity: float = 0.0,  # untuned: Steck 2019 has no such factor
        weighting: Weighting = "log1p",  # docs/models.md; "log1p_third" won only in the dense world
        max_matrix_mb: float = MAX_MATRIX_MB,
    ) -> None:
        super().__init__(
            ridge=ridge,
            user_exponent=user_exponent,
            item_exponent=item_exponent,
            popularity=popularity,
            weighting=weighting,
            max_matrix_mb=max_matrix_mb,
        )
        self._arrays: dict[str, NDArray[Any]] = {}
        self._rows = csr_array((0, 0), dtype=np.float32)

    def _fit(self, interactions: Interactions) -> None:
        plays = interactions.plays[np.flatnonzero(np.diff(interactions.plays.indptr))]
        side = min(plays.shape[0], np.count_nonzero(column_sums(plays)))
        self._refuse_too_large(side)
        sums = column_sums(weighted(plays, self.params["weighting"]))
        rows = self._scaled(plays, sums)
        ridge = np.float32(self.params["ridge"] * (rows.data.astype(np.float64) ** 2).sum() / rows.shape[0])
        if plays.shape[0] <= np.count_nonzero(sums):
            inverse = inverse_of_gram(rows, ridge)
            solution = {
                "inverse": inverse,
                "diagonal": 1 - _quadratic_forms(rows, inverse),
                "data": rows.data,
                "indices": rows.indices,
                "indptr": rows.indptr,
            }
        else:
            played = np.flatnonzero(sums)
            inverse = inverse_of_gram(csr_array(rows[:, played].T), ridge)
            inverse /= -inverse.diagonal()
            np.fill_diagonal(inverse, 0)
            solution = {"weights": inverse, "played": played}
        self._restore({"sums": sums, **solution})

    def _score(self, users: Interactions) -> Scores:
        scaled_plays = self._scaled(users.plays, self._arrays["sums"])
        scores: Scores
        if "weights" in self._arrays:
            played = self._arrays["played"]
            scores = np.zeros(scaled_plays.shape, np.float32)
            scores[:, played] = scaled_plays[:, played] @ self._arrays["weights"]
        else:
            # z_j - (z P)_j / P_jj, with lambda P = I - Zᵀ K Z.
            diagonal = self._arrays["diagonal"]
            reached = (scaled_plays @ self._rows.T).toarray() @ self._arrays["inverse"]
            scores = np.ascontiguousarray(reached @ self._rows)
            scores /= diagonal
            rows = np.repeat(np.arange(scaled_plays.shape[0]), np.diff(scaled_plays.indptr))
            scores[rows, scaled_plays.indices] += scaled_plays.data * (1 - 1 / diagonal[scaled_plays.indices])
        if self.params["popularity"]:
            scores *= power(self._arrays["sums"], self.params["popularity"])
        return scores

    def _state(self) -> dict[str, NDArray[Any]]:
        return self._arrays

    def _restore(self, state: dict[str, NDArray[Any]]) -> None:
        sums = state["sums"]
        if "weights" not in state:
            shape = (len(state["inverse"]), len(sums))
            self._rows = csr_array((state["data"], state["indices"], state["indptr"]), shape=shape)
        self._arrays = state

    def _scaled(self, plays: csr_array, sums: Sums) -> csr_array:
        """Z of these users; `sums` are the learned column sums."""
        weights = weighted(plays, self.params["weighting"])
        by_row = power(row_sums(weights), -self.params["user_exponent"])
        return scaled(weights, by_row, power(sums, -self.params["item_exponent"]))

    def _refuse_too_large(self, side: int) -> None:
        megabytes, limit = side**2 * 4 / 1e6, self.params["max_matrix_mb"]
        if megabytes > limit:
            raise ModelError(
                f"{self.name} needs a matrix of {side:,} x {side:,} ({megabytes:,.0f} MB), more than the limit of "
                f"{limit:,.0f} MB; leave it out, or raise max_matrix_mb"
            )


def inverse_of_gram(matrix: csr_array, ridge: np.float32) -> NDArray[np.float32]:
    """The float32 inverse of M Mᵀ + ridge I (rows x rows), computed in place. Raises ModelError."""
    count = matrix.shape[0]
    gram = np.empty((count, count), np.float32, order="F")
    transposed = matrix.T.tocsr()
    for begin in range(0, count, _ROWS_AT_ONCE):
        block = slice(begin, begin + _ROWS_AT_ONCE)
        gram[:, block] = (matrix[block] @ transposed).toarray().T
    gram[np.diag_indices(count)] += ridge
    factor, failed = spotrf(gram, lower=1, overwrite_a=1, clean=0)
    if not failed:
        factor, failed = spotri(factor, lower=1, overwrite_c=1)
    if failed:
        raise ModelError("the matrix has no inverse; try a higher ridge")
    # LAPACK fills one triangle; copy it to the other.
    for begin in range(0, count, _ROWS_AT_ONCE):
        block = slice(begin, begin + _ROWS_AT_ONCE)
        square = factor[block, block]
        square[:] = np.tril(square) + np.tril(square, -1).T
        factor[block, begin + _ROWS_AT_ONCE :] = factor[begin + _ROWS_AT_ONCE :, block].T
    inverse: NDArray[np.float32] = factor.T  # symmetric, with contiguous rows
    return inverse


def _quadratic_forms(rows: csr_array, inverse: NDArray[np.float32]) -> NDArray[np.float32]:
    """z K zᵀ for each column z of the matrix."""
    columns = rows.T.tocsr()
    forms = np.empty(columns.shape[0], np.float32)
    for begin in range(0, len(forms), _ROWS_AT_ONCE):
        block = columns[begin : begin + _ROWS_AT_ONCE]
        forms[begin : begin + _ROWS_AT_ONCE] = row_sums(block.multiply(block @ inverse))
    return forms
