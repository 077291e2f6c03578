"""GraphFilter against the formula with dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.data.interactions import Interactions
from recommender.models import singular_vectors
from recommender.models.graph_filter import GraphFilter
from tests.two_groups import dense
from tests.unit.recommender.models.test_ease import listening


def power(sums: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    return np.where(sums > 0, np.where(sums > 0, sums, 1) ** exponent, 0)


def written_out(weights: NDArray[np.float64], rank: int) -> NDArray[np.float64]:
    by_user, d = weights.sum(axis=1), weights.sum(axis=0)
    n = power(by_user, -0.5)[:, None] * weights * power(d, -0.5)
    p = n.T @ n
    _, s, vt = np.linalg.svd(n, full_matrices=False)
    v, s = vt[:rank].T, s[:rank]
    sharpened = weights @ p - 0.8 * (weights @ v) * s**4 @ v.T
    return sharpened * power(d, 0.3) + 0.45 * (weights * power(d, -0.5)) @ v @ v.T * power(d, 0.5)


@pytest.mark.parametrize(("users", "tracks"), [(40, 90), (90, 40)])
@pytest.mark.parametrize("weighting", ["binary", "log1p"])
def test_scores_match_the_formula(users: int, tracks: int, weighting: str) -> None:
    plays = listening(users, tracks)
    weights = np.log1p(dense(plays)) if weighting == "log1p" else (dense(plays) > 0).astype(float)
    model = GraphFilter(rank=8, weighting=weighting).fit(plays)  # type: ignore[arg-type]
    assert model._score(plays) == pytest.approx(written_out(weights, 8), abs=1e-4)


def test_two_users_and_two_tracks_by_hand() -> None:
    # Both play a, one also b: R = [[1, 1], [1, 0]], Du = (2, 1), d = (2, 1).
    # N = [[1/2, 1/sqrt(2)], [1/sqrt(2), 0]], P = NᵀN = [[3/4, 1/sqrt(8)], [1/sqrt(8), 1/2]].
    plays = Interactions.from_pairs([1, 1, 2], [10, 11, 10])
    flows = GraphFilter(sharpening=0.0, low_pass=0.0, popularity=0.0).fit(plays)._score(plays)
    root = 1 / np.sqrt(8)
    assert flows == pytest.approx(np.array([[0.75 + root, root + 0.5], [0.75, root]]), abs=1e-6)
    # P² = [[11/16, 5/4 / sqrt(8)], [5/4 / sqrt(8), 3/8]], and V Vᵀ is the identity at full rank.
    all_of_it = GraphFilter(sharpening=1.0, low_pass=1.0, popularity=0.0).fit(plays)._score(plays)
    squared = np.array([[11 / 16 + 1.25 * root, 1.25 * root + 3 / 8], [11 / 16, 1.25 * root]])
    assert all_of_it == pytest.approx(flows - squared + np.array([[1, 1], [1, 0]]), abs=1e-5)


def test_rank_above_the_matrix_rank_makes_no_difference() -> None:
    plays = listening(12, 30)
    assert GraphFilter(rank=12).fit(plays)._score(plays) == pytest.approx(
        GraphFilter(rank=200).fit(plays)._score(plays), abs=1e-5
    )


@pytest.mark.parametrize("shape", [(300, 120), (120, 300)])
def test_iteration_finds_the_first_singular_vectors(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(singular_vectors, "_DENSE", 10)
    rng = np.random.default_rng(0)
    falling = 0.8 ** np.arange(shape[1])
    matrix = (rng.standard_normal(shape) @ np.diag(falling)).astype(np.float32)
    vectors, values = singular_vectors.right_singular(csr_array(matrix), 5, seed=1)
    _, exact, right = np.linalg.svd(matrix)
    assert values == pytest.approx(exact[:5], rel=1e-3)
    assert vectors @ vectors.T == pytest.approx(right[:5].T @ right[:5], abs=1e-3)


def test_iteration_drops_noise_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(singular_vectors, "_DENSE", 10)
    rng = np.random.default_rng(0)
    matrix = (rng.random((200, 3)) @ rng.random((3, 150))).astype(np.float32)
    vectors, _ = singular_vectors.right_singular(csr_array(matrix), 20, seed=1)
    assert vectors.shape == (150, 3)
    assert vectors.T @ vectors == pytest.approx(np.eye(3), abs=1e-3)


def test_ranking_does_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(singular_vectors, "_DENSE", 10)
    plays = listening(300, 200)
    several = GraphFilter(rank=20).fit(plays).recommend(plays.user_ids, 10)
    monkeypatch.setattr("recommender.models.parallel.cores", lambda: 1)
    alone = GraphFilter(rank=20).fit(plays).recommend(plays.user_ids, 10)
    assert (several.ids == alone.ids).all()
    assert (several.scores == alone.scores).all()
