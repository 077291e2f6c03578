"""The first singular vectors of a sparse matrix equal those of a dense decomposition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from recommender.models import singular_vectors


@pytest.mark.parametrize("shape", [(300, 120), (120, 300)])
def test_iteration_finds_the_first_singular_vectors(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(singular_vectors, "_DENSE", 10)
    rng = np.random.default_rng(0)
    scales = 0.8 ** np.arange(shape[1])
    matrix = (rng.standard_normal(shape) @ np.diag(scales)).astype(np.float32)
    vectors, values = singular_vectors.right_singular(csr_array(matrix), 5, seed=1)
    _, exact_values, exact_vectors = np.linalg.svd(matrix)
    assert values == pytest.approx(exact_values[:5], rel=1e-3)
    assert vectors @ vectors.T == pytest.approx(exact_vectors[:5].T @ exact_vectors[:5], abs=1e-3)


def test_iteration_drops_noise_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(singular_vectors, "_DENSE", 10)
    rng = np.random.default_rng(0)
    matrix = (rng.random((200, 3)) @ rng.random((3, 150))).astype(np.float32)
    vectors, _ = singular_vectors.right_singular(csr_array(matrix), 20, seed=1)
    assert vectors.shape == (150, 3)
    assert vectors.T @ vectors == pytest.approx(np.eye(3), abs=1e-3)
