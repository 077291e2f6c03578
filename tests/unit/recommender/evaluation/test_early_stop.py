"""A trial stops when it is worse than the best beyond chance, and scores all users otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recommender.data.interactions import Interactions
from recommender.evaluation.early_stop import StopRule
from recommender.evaluation.splitting import Holdout
from recommender.evaluation.trial_process import rank_until_stopped
from recommender.models.base import Ranking

USERS, K = 2_000, 4
IDS = np.arange(USERS) * 3 + 1
HOLDOUT = Holdout(IDS, np.arange(USERS + 1), np.arange(USERS) + 100_000)


class FixedScorer:
    """Finds the held-out track of a user with a probability."""

    def __init__(self, probability: float) -> None:
        hit = np.random.default_rng(1).random(USERS) < probability
        self.tracks = np.where(hit, HOLDOUT.tracks, 1)
        self.scored: list[int] = []

    def recommend(self, users: np.ndarray, n: int, exclude: Interactions | None = None) -> Ranking:
        self.scored.append(len(users))
        tracks = self.tracks[np.searchsorted(IDS, users)]
        ids = tracks[:, None] + np.arange(n) * 1_000_000
        return Ranking(ids, np.broadcast_to(np.arange(n, 0, -1.0, np.float32), ids.shape))


def rule(best: float, selecting: int = USERS) -> StopRule:
    ndcg = (np.random.default_rng(2).random(USERS) < best).astype(float)
    return StopRule(HOLDOUT, np.random.default_rng(3).permutation(USERS)[:selecting], ndcg, K)


def run(probability: float, stop_rule: StopRule | None) -> tuple[Ranking | str, list[int]]:
    scorer = FixedScorer(probability)
    return rank_until_stopped(scorer, IDS, K, None, stop_rule), scorer.scored  # type: ignore[arg-type]


def test_much_worse_trial_stops_after_an_eighth_of_the_users() -> None:
    reason, scored = run(0.3, rule(0.6))
    assert isinstance(reason, str)
    assert reason.startswith("stopped after 250 users: ndcg 0.")
    assert scored == [250]


def test_slightly_worse_trial_stops_later() -> None:
    reason, scored = run(0.43, rule(0.52))
    assert isinstance(reason, str)
    assert 250 < sum(scored) <= 1_000


@pytest.mark.parametrize("selecting", [USERS, USERS // 2, 150])
def test_trial_that_may_win_gives_the_ranking_of_all_users(selecting: int) -> None:
    ranking, scored = run(0.6, rule(0.5, selecting))
    expected, _ = run(0.6, None)
    assert isinstance(ranking, Ranking)
    assert isinstance(expected, Ranking)
    assert np.array_equal(ranking.ids, expected.ids)
    assert np.array_equal(ranking.scores, expected.scores)
    assert sum(scored) == USERS


def test_equal_trials_rarely_stop() -> None:
    def stops(seed: int) -> bool:
        random = np.random.default_rng(seed)
        best = (random.random(USERS) < 0.3).astype(float)
        stop_rule = StopRule(HOLDOUT, random.permutation(USERS), best, K)
        scorer = FixedScorer(0.3)
        scorer.tracks = np.where(random.random(USERS) < 0.3, HOLDOUT.tracks, 1)
        return isinstance(rank_until_stopped(scorer, IDS, K, None, stop_rule), str)  # type: ignore[arg-type]

    assert sum(stops(seed) for seed in range(200)) <= 20


def test_rule_is_the_same_in_the_trial_process(tmp_path: Path) -> None:
    written = rule(0.6, 900)
    written.save(tmp_path / "stop_rule.npz")
    read = StopRule.load(tmp_path / "stop_rule.npz")
    assert [part.tolist() for part in read.parts()] == [part.tolist() for part in written.parts()]
    assert run(0.3, read) == run(0.3, written)
