"""The paired bootstrap: differences by chance are no wins."""

from __future__ import annotations

import numpy as np
import pytest

from recommender.evaluation.paired_bootstrap import MIN_USERS, compare

USERS = 400


def _champion(seed: int = 0, users: int = USERS) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 0.6, users)


def test_better_challenger_beats_the_champion() -> None:
    champion = _champion()
    comparison = compare(champion + np.random.default_rng(1).normal(0.02, 0.05, USERS), champion)
    assert comparison.beats
    assert 0 < comparison.lower < comparison.mean < comparison.upper
    assert comparison.users == USERS
    assert str(comparison).startswith("better (+0.0")


def test_bounds_match_the_normal_approximation() -> None:
    difference = np.random.default_rng(2).normal(0.01, 0.1, 2_000)
    comparison = compare(_champion(users=2_000) + difference, _champion(users=2_000))
    error = difference.std() / np.sqrt(2_000)
    assert comparison.lower == pytest.approx(difference.mean() - 1.96 * error, abs=0.3 * error)
    assert comparison.upper == pytest.approx(difference.mean() + 1.96 * error, abs=0.3 * error)


def test_false_wins_match_the_confidence_level() -> None:
    random = np.random.default_rng(3)
    wins = sum(
        compare(random.normal(0, 0.1, 100), np.zeros(100), seed=seed, resamples=500).beats for seed in range(400)
    )
    assert wins <= 22  # 2.5 % of 400 is 10; more than 22 has a chance of 0.03 %


def test_same_seed_gives_same_bounds() -> None:
    challenger, champion = _champion(1), _champion(2)
    assert compare(challenger, champion, seed=4) == compare(challenger, champion, seed=4)
    assert compare(challenger, champion, seed=4) != compare(challenger, champion, seed=5)


def test_resampling_in_blocks_gives_similar_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    challenger, champion = _champion(1), _champion(2)
    whole = compare(challenger, champion)
    monkeypatch.setattr("recommender.evaluation.paired_bootstrap._DRAWS_A_BLOCK", 1_000)
    assert compare(challenger, champion).lower == pytest.approx(whole.lower, abs=0.005)


@pytest.mark.parametrize("users", [0, 1, MIN_USERS - 1])
def test_too_few_users_give_no_win(users: int) -> None:
    comparison = compare(np.ones(users), np.zeros(users))
    assert not comparison.beats
    assert not comparison.not_inferior(0.5)
    assert f"{users} users are too few" in str(comparison)


@pytest.mark.parametrize(("difference", "shown_difference"), [(0.0, "+0.0000"), (0.1, "+0.1000")])
def test_constant_difference_gives_no_win(difference: float, shown_difference: str) -> None:
    comparison = compare(np.full(50, 0.25 + difference), np.full(50, 0.25))
    assert not comparison.beats
    assert f"the difference is {shown_difference} for every user" in comparison.inconclusive_reason


def test_slightly_worse_challenger_is_not_inferior() -> None:
    champion = _champion()
    challenger = champion + np.random.default_rng(1).normal(-0.002, 0.02, USERS)
    comparison = compare(challenger, champion)
    assert not comparison.beats
    assert comparison.not_inferior(0.01)
    assert not comparison.not_inferior(0.001)
    assert compare(champion, champion).not_inferior(0.001)


def test_worse_challenger_is_reported_as_worse() -> None:
    champion = _champion()
    comparison = compare(champion + np.random.default_rng(1).normal(-0.05, 0.05, USERS), champion)
    assert str(comparison).startswith("worse (-0.0")


def test_values_of_different_users_are_refused() -> None:
    with pytest.raises(ValueError, match="not of the same users"):
        compare(np.ones(20), np.ones(21))
    with pytest.raises(ValueError, match="not a number"):
        compare(np.full(20, np.nan), np.ones(20))
