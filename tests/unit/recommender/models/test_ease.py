"""EASE against the formula, with fewer users and with fewer tracks."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from core.errors import ModelError
from recommender.data.interactions import Interactions
from recommender.models.ease import EASE, inverse_of_gram
from recommender.models.scaling import weighted
from tests.two_groups import dense


def listening(users: int, tracks: int, seed: int = 0) -> Interactions:
    """Random plays. One user and one track have none."""
    rng = np.random.default_rng(seed)
    plays = rng.integers(1, 50, (users, tracks)) * (rng.random((users, tracks)) < 0.3)
    plays[3], plays[:, 2] = 0, 0
    rows, columns = np.nonzero(plays)
    named, catalogue = np.arange(users), np.arange(tracks)
    return Interactions.from_pairs(rows, columns, plays[rows, columns], known_users=named, catalogue=catalogue)


def written_out(plays: Interactions, ridge: float = 3.0) -> NDArray[np.float64]:
    """Scores z B from the inverse of ZᵀZ + lambda over the tracks."""
    weights = np.log1p(dense(plays))
    by_user, by_track = weights.sum(axis=1, keepdims=True), weights.sum(axis=0)
    z = weights * np.where(by_user > 0, by_user, np.inf) ** -0.5 * np.where(by_track > 0, by_track, np.inf) ** -0.25
    strength = ridge * (z[by_user[:, 0] > 0] ** 2).sum(axis=1).mean()
    inverse = np.linalg.inv(z.T @ z + strength * np.eye(z.shape[1]))
    weights_matrix = -inverse / np.diag(inverse)
    np.fill_diagonal(weights_matrix, 0)
    return z @ weights_matrix


@pytest.mark.parametrize(("users", "tracks"), [(40, 90), (90, 40), (41, 41)])
def test_scores_match_the_formula_on_both_sides(users: int, tracks: int) -> None:
    plays = listening(users, tracks)
    model = EASE().fit(plays)
    assert ("weights" in model._state()) == (tracks < users)
    assert model._score(plays) == pytest.approx(written_out(plays), abs=2e-6)


def test_two_users_and_two_tracks_by_hand() -> None:
    # Both play a, one also b: Z = [[1, 1], [1, 0]], lambda = 1 x (2 + 1) / 2 = 3/2.
    # ZᵀZ + 3/2 = [[7/2, 1], [1, 5/2]]; its inverse is [[5/2, -1], [-1, 7/2]] / (31/4).
    # B[a, b] = 1 / (7/2) = 2/7, B[b, a] = 1 / (5/2) = 2/5.
    plays = Interactions.from_pairs([1, 1, 2], [10, 11, 10])
    model = EASE(ridge=1.0, user_exponent=0.0, item_exponent=0.0, weighting="binary").fit(plays)
    assert model._score(plays) == pytest.approx(np.array([[2 / 5, 2 / 7], [0, 2 / 7]]), abs=1e-6)


def test_popularity_multiplies_by_the_column_sum() -> None:
    plays = listening(20, 30)
    plain, lifted = EASE().fit(plays)._score(plays), EASE(popularity=0.5).fit(plays)._score(plays)
    sums = np.log1p(dense(plays)).sum(axis=0)
    assert lifted == pytest.approx(plain * sums**0.5, abs=1e-5)


@pytest.mark.parametrize("count", [1, 5, 256, 300, 515])
def test_inverse_is_complete_and_symmetric(count: int) -> None:
    rows = csr_array(np.random.default_rng(0).random((count, 40), dtype=np.float32))
    inverse = inverse_of_gram(rows, np.float32(4.0))
    matrix = (rows @ rows.T).toarray() + 4 * np.eye(count)
    assert inverse @ matrix == pytest.approx(np.eye(count), abs=2e-3)
    assert (inverse == inverse.T).all()


def test_too_large_matrix_is_refused_at_once() -> None:
    users = np.arange(30_000)
    plays = Interactions.from_pairs(users, users, catalogue=np.arange(41_000))
    with pytest.raises(ModelError, match=r"30,000 x 30,000 \(3,600 MB\), more than the limit of 800 MB"):
        EASE().fit(plays)


def test_size_limit_applies_to_the_smaller_side_of_played_pairs() -> None:
    few_plays = Interactions.from_pairs([1, 2], [10, 11], known_users=np.arange(1_000), catalogue=np.arange(1_000))
    EASE(max_matrix_mb=0.001).fit(few_plays)


def test_singular_matrix_is_refused() -> None:
    plays = Interactions.from_pairs([1, 2, 3, 3], [10, 10, 10, 11])
    with pytest.raises(ModelError, match="ridge"):
        EASE(ridge=-1.0).fit(plays)


def test_unknown_weighting_is_refused() -> None:
    with pytest.raises(ModelError, match="log1p, log1p_third or binary, not 'sqrt'"):
        EASE(weighting="sqrt").fit(Interactions.from_pairs([1], [2]))  # type: ignore[arg-type]


def test_log1p_third_divides_plays_by_three() -> None:
    plays = Interactions.from_pairs([1, 1, 2], [10, 11, 10], [3, 6, 9])
    assert weighted(plays.plays, "log1p_third").data == pytest.approx(np.log([2, 3, 4]))
