"""Weight plays, and scale rows and columns of a sparse matrix."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from core.errors import ModelError

Weighting = Literal["log1p", "log1p_third", "binary"]
Sums = NDArray[np.float32]


def weighted(plays: csr_array, weighting: Weighting) -> csr_array:
    """Return a new matrix of weights. Raises ModelError for an unknown weighting.

    `log1p` is log(1 + plays). `log1p_third` is log(1 + plays / 3), where repeated plays count more. `binary` is 1 for
    each played track.
    """
    weightings = get_args(Weighting)
    if weighting not in weightings:
        raise ModelError(f"weighting must be {', '.join(weightings[:-1])} or {weightings[-1]}, not {weighting!r}")
    if weighting == "binary":
        values = np.ones(plays.nnz)
    else:
        values = np.log1p(plays.data if weighting == "log1p" else plays.data / 3)
    return csr_array((values.astype(np.float32), plays.indices, plays.indptr), shape=plays.shape)


def row_sums(matrix: csr_array) -> Sums:
    """The sum of each row."""
    return _float32(matrix.sum(axis=1))


def column_sums(matrix: csr_array) -> Sums:
    """The sum of each column."""
    return _float32(matrix.sum(axis=0))


def power(sums: Sums, exponent: float) -> Sums:
    """Raise each sum to a power. The result of an empty row or column is 0."""
    raised = np.zeros_like(sums)
    np.power(sums, exponent, where=sums > 0, out=raised)
    return raised


def scaled(matrix: csr_array, rows: Sums, columns: Sums) -> csr_array:
    """Return a new matrix: each value times the factors of its row and column."""
    values = matrix.data * np.repeat(rows, np.diff(matrix.indptr)) * columns[matrix.indices]
    return csr_array((values, matrix.indices, matrix.indptr), shape=matrix.shape)


def _float32(values: Any) -> Sums:
    return np.asarray(values, np.float32).ravel()
