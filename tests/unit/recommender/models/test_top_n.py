"""top_n against a full sort."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.models.top_n import exclude_pairs, rows_per_block, top_n


def by_sorting(scores: NDArray[np.float32], n: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    columns = np.argsort(-scores, axis=1, kind="stable")[:, :n]
    values = np.take_along_axis(scores, columns, axis=1)
    return np.where(np.isfinite(values), columns, -1), values


@pytest.mark.parametrize("seed", range(200))
def test_top_n_equals_a_full_sort_with_ties_and_gaps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, width, n = rng.integers(1, 6), rng.integers(1, 700), rng.integers(1, 40)
    kinds = rng.choice([2, 50, 10**6])
    scores = rng.integers(-kinds, kinds, (rows, width)).astype(np.float32)
    scores[rng.random((rows, width)) < rng.random() ** 2] = -np.inf
    before = scores.copy()
    columns, values = top_n(scores, n)
    expected_columns, expected_values = by_sorting(scores, n)
    assert (columns == expected_columns).all()
    assert (values == expected_values).all()
    assert (scores == before).all()


def test_top_n_accepts_fortran_order() -> None:
    scores = np.asfortranarray(np.random.default_rng(0).random((50, 80), dtype=np.float32))
    assert (top_n(scores, 5)[0] == by_sorting(scores, 5)[0]).all()


@pytest.mark.parametrize("shape", [(0, 5), (3, 0)])
def test_top_n_of_an_empty_array_is_empty(shape: tuple[int, int]) -> None:
    columns, values = top_n(np.zeros(shape, np.float32), 2)
    assert columns.shape == values.shape == (shape[0], min(2, shape[1]))


@pytest.mark.parametrize("invalid", [np.nan, np.inf])
@pytest.mark.parametrize("width", [3, 1_000, 1_001])
@pytest.mark.parametrize("place", [0, -1])
def test_non_finite_score_is_refused_at_any_position(invalid: float, width: int, place: int) -> None:
    scores = np.zeros((4, width), np.float32)
    scores[2, place] = invalid
    with pytest.raises(FloatingPointError):
        top_n(scores, 2)


def test_excluded_pairs_get_minus_infinity() -> None:
    scores = np.zeros((3, 4), np.float32)
    exclude_pairs(scores, csr_array(([1.0, 1.0, 1.0], ([0, 2, 2], [1, 0, 3])), shape=(3, 4)))
    assert np.argwhere(np.isneginf(scores)).tolist() == [[0, 1], [2, 0], [2, 3]]


def test_block_has_at_most_16_mib_and_at_least_one_row() -> None:
    assert rows_per_block(41_000) * 41_000 * 4 <= 16 * 2**20
    assert rows_per_block(10**9) == 1
    assert rows_per_block(0) > 0
