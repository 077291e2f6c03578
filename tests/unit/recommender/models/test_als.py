"""ALS: listeners' vectors are those that solve the equation, and implicit's own scores are met."""

from __future__ import annotations

import numpy as np
import pytest
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from core.errors import ModelError
from recommender.models.als import ALS
from tests.two_groups import LISTENERS, dense, two_groups
from tests.unit.recommender.models.test_ease import listening


def test_a_listener_has_the_vector_that_least_squares_gives() -> None:
    plays = listening(30, 50)
    model = ALS(factors=6, regularization=0.3, alpha=2.0).fit(plays)
    tracks = model._state()["tracks"].astype(np.float64)
    confidence = 2 * np.log1p(dense(plays))
    # One listener and one track have no plays.
    strength = 0.3 * np.sqrt(confidence.sum() / 29 * confidence.sum() / 49)
    expected = np.zeros((30, 50))
    for user in range(30):
        c = confidence[user]
        # Tracks without a play have confidence 1 and preference 0, those with one c and 1 (Hu 2008).
        left = tracks.T @ tracks + (tracks.T * np.where(c > 0, c - 1, 0)) @ tracks + strength * np.eye(6)
        expected[user] = tracks @ np.linalg.solve(left, tracks.T @ c)
    assert model._score(plays) == pytest.approx(expected, abs=1e-4)


def test_implicit_recommends_the_same_from_the_same_vectors() -> None:
    plays = listening(40, 300)
    model = ALS(factors=8).fit(plays)
    with threadpool_limits(1, "blas"):
        peer = AlternatingLeastSquares(factors=8)
    peer.item_factors, peer.user_factors = model._tracks, model._listeners
    matrix = csr_matrix(plays.plays)
    played = plays.listeners_with_plays
    ids, scores = peer.recommend(np.arange(40), matrix, N=10, filter_already_liked_items=True)
    ours = model.recommend(played, 10, exclude=plays)
    assert (ours.ids == ids[played]).all()
    assert ours.scores == pytest.approx(scores[played], abs=1e-6)


def test_a_seed_is_a_model() -> None:
    plays = two_groups()
    one, same, other = (ALS(factors=2, seed=seed).fit(plays).recommend(LISTENERS, 8) for seed in (1, 1, 2))
    assert (one.scores == same.scores).all()
    assert (one.scores != other.scores).any()


def test_what_cannot_be_solved_says_so() -> None:
    with pytest.raises(ModelError, match="regularization"):
        ALS(factors=2, regularization=float("nan")).fit(two_groups())
