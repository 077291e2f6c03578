"""Re-ranking by exposure: the formula by hand, more coverage, the same result for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from recommender.data.interactions import Interactions
from recommender.models.base import Ranking
from recommender.models.diversity import ExposureReranker, candidates_for, rerank_sample

TRACKS = np.array([10, 20, 30, 40])


def ranking(*rows: tuple[list[int], list[float]]) -> Ranking:
    return Ranking(np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows], np.float32))


def test_score_is_scaled_and_lowered_by_the_logarithm_of_exposures() -> None:
    reranker = ExposureReranker(0.5, TRACKS, exposures=np.array([99.0, 0, 9, 0]))
    candidates = ranking(([10, 20, 30, 40], [8.0, 6.0, 5.0, 4.0]))
    reranked = reranker.rerank(candidates, 3, seed=0)
    # Scaled: 1, 1/2, 1/4, 0. Penalties: 1/2 for 99 exposures, 1/4 for 9.
    assert reranked.ids.tolist() == [[10, 20, 30]]
    assert reranked.scores == pytest.approx(np.array([[0.5, 0.5, 0.0]]))
    assert reranker.exposures.tolist() == [100, 1, 10, 0]


def test_tracks_are_spread_over_users_of_equal_scores() -> None:
    candidates = ranking(*[([10, 20, 30, 40], [4.0, 3.9, 3.8, 0.0])] * 30)
    reranked = ExposureReranker(0.3, TRACKS).rerank(candidates, 1, seed=0)
    counts = [int((reranked.ids == track).sum()) for track in TRACKS]
    assert counts[0] > counts[1] > counts[2] > 0
    assert counts[3] == 0


def test_empty_places_and_short_lists_stay() -> None:
    candidates = ranking(([10, -1], [3.0, -np.inf]), ([-1, -1], [-np.inf, -np.inf]), ([20, 30], [2.0, 2.0]))
    reranked = ExposureReranker(0.3, TRACKS).rerank(candidates, 2, seed=0)
    assert reranked.ids.tolist() == [[10, -1], [-1, -1], [20, 30]]
    assert np.isneginf(reranked.scores[[0, 1, 1], [1, 0, 1]]).all()
    assert (np.diff(reranked.scores[[0, 2]], axis=1) <= 0).all()


def test_same_seed_gives_the_same_lists() -> None:
    random = np.random.default_rng(0)
    scores = -np.sort(-random.random((50, 4)).astype(np.float32))
    candidates = Ranking(np.tile(TRACKS, (50, 1)), scores)
    lists = [ExposureReranker(1.0, TRACKS).rerank(candidates, 2, seed).ids.tolist() for seed in (1, 1, 2)]
    assert lists[0] == lists[1] != lists[2]


def test_sample_of_users_counts_for_all_users() -> None:
    train = Interactions.from_pairs(range(100), [10] * 100, catalogue=TRACKS)
    candidates = ranking(([10, 20, 30], [3.0, 2.9, 0.0]), ([10, 20, 30], [3.0, 2.9, 0.0]))
    assert rerank_sample(candidates, train, 1, 0.0, seed=0) is candidates
    # The first list stands for 50 users, so the second list has another track.
    assert sorted(rerank_sample(candidates, train, 1, 0.3, seed=0).ids.ravel()) == [10, 20]
    assert (candidates_for(20, 0.0), candidates_for(20, 0.3), candidates_for(200, 0.3)) == (20, 100, 200)
