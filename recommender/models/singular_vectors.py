"""Compute the first singular vectors of a sparse matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse import csr_array

from recommender.models.parallel import in_blocks

_DENSE = 2000
"""Up to this many rows or columns, the eigenvectors of the smaller Gram matrix are computed exactly."""
# Oversampling and rounds of subspace iteration: untuned, above what Halko 2011 needs (5 to 10 and 1 to 2).
_SPARE = 64
_ITERATIONS = 8
_NEGLIGIBLE = 1e-3  # untuned: relative to the largest value; float32 resolves about 1e-7, its square root is 3e-4
_COLUMNS_AT_ONCE = 64  # untuned: only speed depends on it


Vectors = NDArray[np.floating[Any]]


def right_singular(matrix: csr_array, rank: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the right singular vectors (as columns) and the `rank` largest singular values, descending.

    There are fewer than `rank` if the matrix has a lower rank. A small matrix is solved exactly, a large one by
    randomised subspace iteration (Halko 2011).
    """
    transposed = matrix.T.tocsr()
    small = min(matrix.shape) <= max(_DENSE, rank + _SPARE)
    vectors, values = _exact(matrix, transposed) if small else _by_iteration(matrix, transposed, rank + _SPARE, seed)
    significant = np.flatnonzero(values > _NEGLIGIBLE * values[0])[:rank]
    return np.ascontiguousarray(vectors[:, significant], np.float32), values[significant].astype(np.float32)


def _exact(matrix: csr_array, transposed: csr_array) -> tuple[Vectors, Vectors]:
    wide = matrix.shape[0] <= matrix.shape[1]
    gram = ((matrix @ transposed) if wide else (transposed @ matrix)).toarray().astype(np.float64)
    squares, vectors = eigh(gram, overwrite_a=True, check_finite=False)
    values = np.sqrt(np.maximum(squares[::-1], 0))
    vectors = vectors[:, ::-1]
    if wide:
        vectors = (transposed @ vectors) * np.divide(1, values, where=values > 0, out=np.zeros_like(values))
    return vectors, values


def _by_iteration(matrix: csr_array, transposed: csr_array, count: int, seed: int) -> tuple[Vectors, Vectors]:
    basis: Vectors = np.random.default_rng(seed).standard_normal((matrix.shape[0], count), dtype=np.float32)
    for _ in range(_ITERATIONS):
        basis = _orthonormal(_both_ways(matrix, transposed, basis))
    projected = (
        transposed @ basis
    )  # tracks x count; its left singular vectors are the right singular vectors of the matrix
    squares, rotation = eigh(projected.T @ projected, overwrite_a=True, check_finite=False)
    values = np.sqrt(np.maximum(squares[::-1], 0))
    vectors = projected @ rotation[:, ::-1]
    return vectors * np.divide(1, values, where=values > 0, out=np.zeros_like(values)), values


def _both_ways(matrix: csr_array, transposed: csr_array, basis: Vectors) -> Vectors:
    """M Mᵀ B, with the columns of B in parallel blocks."""
    product = np.empty_like(basis)

    def multiply(block: slice) -> None:
        product[:, block] = matrix @ (transposed @ np.ascontiguousarray(basis[:, block]))

    in_blocks(multiply, basis.shape[1], _COLUMNS_AT_ONCE)
    return product


def _orthonormal(basis: Vectors) -> Vectors:
    """Return an orthonormal basis of the same space, computed from the small Gram matrix, without noise directions.

    This takes the time of two matrix products. Its lower accuracy is enough, because the next iteration refines it.
    """
    squares, rotation = eigh(basis.T @ basis, overwrite_a=True, check_finite=False)
    significant = squares > _NEGLIGIBLE**2 * squares[-1]
    return np.ascontiguousarray(basis @ (rotation[:, significant] / np.sqrt(squares[significant])))
