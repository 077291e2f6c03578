"""The first singular vectors of a sparse matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse import csr_array

from recommender.models.parallel import in_blocks

_DENSE = 2000
"""Up to so many rows or columns, all eigenvectors of the smaller Gram matrix are found: exact, and quick enough."""
# Oversampling and rounds of subspace iteration: untuned, above what Halko 2011 needs (5 to 10 and 1 to 2).
_SPARE = 64
_ITERATIONS = 8
_NEGLIGIBLE = 1e-3  # untuned: relative to the largest value; float32 resolves about 1e-7, its square root is 3e-4
_COLUMNS_AT_ONCE = 64  # untuned: only speed depends on it


Vectors = NDArray[np.floating[Any]]


def right_singular(matrix: csr_array, rank: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The `rank` largest singular values, falling, and their right vectors as columns; fewer where there are fewer.

    By subspace iteration from random vectors of the seed (Halko 2011), or exactly for a small matrix.
    """
    across = matrix.T.tocsr()
    small = min(matrix.shape) <= max(_DENSE, rank + _SPARE)
    vectors, values = _exact(matrix, across) if small else _by_iteration(matrix, across, rank + _SPARE, seed)
    kept = np.flatnonzero(values > _NEGLIGIBLE * values[0])[:rank]
    return np.ascontiguousarray(vectors[:, kept], np.float32), values[kept].astype(np.float32)


def _exact(matrix: csr_array, across: csr_array) -> tuple[Vectors, Vectors]:
    wide = matrix.shape[0] <= matrix.shape[1]
    gram = ((matrix @ across) if wide else (across @ matrix)).toarray().astype(np.float64)
    squares, vectors = eigh(gram, overwrite_a=True, check_finite=False)
    values = np.sqrt(np.maximum(squares[::-1], 0))
    vectors = vectors[:, ::-1]
    if wide:
        vectors = (across @ vectors) * np.divide(1, values, where=values > 0, out=np.zeros_like(values))
    return vectors, values


def _by_iteration(matrix: csr_array, across: csr_array, count: int, seed: int) -> tuple[Vectors, Vectors]:
    basis: Vectors = np.random.default_rng(seed).standard_normal((matrix.shape[0], count), dtype=np.float32)
    for _ in range(_ITERATIONS):
        basis = _orthonormal(_both_ways(matrix, across, basis))
    projected = across @ basis  # tracks x count; its left vectors are the right ones of the matrix
    squares, turned = eigh(projected.T @ projected, overwrite_a=True, check_finite=False)
    values = np.sqrt(np.maximum(squares[::-1], 0))
    vectors = projected @ turned[:, ::-1]
    return vectors * np.divide(1, values, where=values > 0, out=np.zeros_like(values)), values


def _both_ways(matrix: csr_array, across: csr_array, basis: Vectors) -> Vectors:
    """M Mᵀ B, each core some columns of B."""
    product = np.empty_like(basis)

    def multiply(some: slice) -> None:
        product[:, some] = matrix @ (across @ np.ascontiguousarray(basis[:, some]))

    in_blocks(multiply, basis.shape[1], _COLUMNS_AT_ONCE)
    return product


def _orthonormal(basis: Vectors) -> Vectors:
    """An orthonormal basis of the same space, by way of the small Gram matrix; directions that are noise are left out.

    As quick as two products of matrices. Twice as accurate is not needed: the next round starts from it.
    """
    squares, turned = eigh(basis.T @ basis, overwrite_a=True, check_finite=False)
    kept = squares > _NEGLIGIBLE**2 * squares[-1]
    return np.ascontiguousarray(basis @ (turned[:, kept] / np.sqrt(squares[kept])))
