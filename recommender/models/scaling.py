"""How plays become the weights that models learn from, and how rows and columns are scaled."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from core.errors import ModelError

Weighting = Literal["log1p", "log1p_third", "binary"]
Sums = NDArray[np.float32]


def weighted(plays: csr_array, weighting: Weighting) -> csr_array:
    """A new matrix of the same shape. Raises ModelError.

    log(1 + plays); log(1 + plays / 3), which lets the second and third play count more; or 1 for a track that was
    played.
    """
    known = get_args(Weighting)
    if weighting not in known:
        raise ModelError(f"plays are weighted by {', '.join(known[:-1])} or {known[-1]}, not by {weighting!r}")
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
    """Each sum to that power, and zero for a row or column that is empty."""
    raised = np.zeros_like(sums)
    np.power(sums, exponent, where=sums > 0, out=raised)
    return raised


def scaled(matrix: csr_array, rows: Sums, columns: Sums) -> csr_array:
    """A new matrix: each value times the factor of its row and that of its column."""
    values = matrix.data * np.repeat(rows, np.diff(matrix.indptr)) * columns[matrix.indices]
    return csr_array((values, matrix.indices, matrix.indptr), shape=matrix.shape)


def _float32(values: Any) -> Sums:
    return np.asarray(values, np.float32).ravel()
