"""Metrics against values calculated by hand."""

from __future__ import annotations

from math import log2, sqrt

import numpy as np
import pytest

from recommender.data.interactions import Interactions
from recommender.evaluation.metrics import (
    coverage,
    hits,
    intra_list_diversity,
    measure_ranking,
    ndcg_at,
    novelty,
    popularity_bias,
    recall_at,
)
from recommender.evaluation.splitting import Holdout
from recommender.models.base import Ranking

# User 1 played 10, 2 played 10 and 11, 3 played 12, 4 played 10: 4 users, 5 tracks, 13 and 14 unplayed.
TRAIN = Interactions.from_pairs([1, 2, 2, 3, 4], [10, 10, 11, 12, 10], catalogue=[13, 14])


def _ranking(*rows: list[int | None]) -> Ranking:
    """A ranking; None is an empty rank."""
    ids = np.array([[-1 if track is None else track for track in row] for row in rows], np.int64)
    scores = np.array([[-np.inf if track is None else -place for place, track in enumerate(row)] for row in rows])
    return Ranking(ids, scores.astype(np.float32))


def _holdout(**tracks: list[int]) -> Holdout:
    users = [int(name[1:]) for name, track_ids in tracks.items() for _ in track_ids]
    return Holdout.from_interactions(
        Interactions.from_pairs(users, [track for track_ids in tracks.values() for track in track_ids]), TRAIN
    )


def test_recall_is_hits_divided_by_holdout_tracks() -> None:
    holdout = _holdout(u1=[11, 12, 99], u2=[12], u3=[10])
    is_hit = hits(_ranking([13, 11, 12], [12, 13, 14], [13, 14, 11]), holdout, 3)
    assert recall_at(is_hit, holdout).tolist() == [2 / 3, 1, 0]


def test_ndcg_discounts_by_rank_and_divides_by_the_ideal() -> None:
    holdout = _holdout(u1=[11, 12, 99], u2=[12], u3=[10])
    is_hit = hits(_ranking([13, 11, 12], [13, 12, 14], [13, 14, 11]), holdout, 3)
    ideal_of_three = 1 + 1 / log2(3) + 1 / log2(4)
    expected = [(1 / log2(3) + 1 / log2(4)) / ideal_of_three, 1 / log2(3), 0]
    assert ndcg_at(is_hit, holdout, 3) == pytest.approx(expected, abs=1e-12)


def test_ideal_has_at_most_k_ranks() -> None:
    holdout = _holdout(u1=[11, 12, 13])
    is_hit = hits(_ranking([11, 12, 13]), holdout, 2)
    assert ndcg_at(is_hit, holdout, 2).tolist() == [1]
    assert recall_at(is_hit, holdout).tolist() == [2 / 3]


def test_short_list_is_measured_against_the_ideal_of_k() -> None:
    holdout = _holdout(u1=[11, 12])
    is_hit = hits(_ranking([11]), holdout, 20)
    assert ndcg_at(is_hit, holdout, 20) == pytest.approx([1 / (1 + 1 / log2(3))])


def test_empty_rank_is_no_hit_even_if_minus_one_is_a_track() -> None:
    train = Interactions.from_pairs([1], [5])
    holdout = Holdout.from_interactions(Interactions.from_pairs([1], [-1]), train)
    assert recall_at(hits(_ranking([None, None]), holdout, 2), holdout).tolist() == [0]
    ranking = Ranking(np.array([[-1]]), np.zeros((1, 1), np.float32))
    assert recall_at(hits(ranking, holdout, 2), holdout).tolist() == [1]


def test_metrics_accept_64_bit_ids() -> None:
    smallest, largest = -(2**63), 2**63 - 1
    train = Interactions.from_pairs([largest, smallest], [largest, 0])
    holdout = Holdout.from_interactions(Interactions.from_pairs([largest, smallest], [smallest, largest]), train)
    assert holdout.users.tolist() == [smallest, largest]
    is_hit = hits(_ranking([largest], [smallest]), holdout, 1)
    assert recall_at(is_hit, holdout).tolist() == [1, 1]


def test_coverage_is_the_share_of_the_catalogue_in_the_first_k_of_any_user() -> None:
    ranking = _ranking([11, 12, 14], [12, 11, None])
    assert coverage(ranking, TRAIN, 2) == 2 / 5
    assert coverage(ranking, TRAIN, 3) == 3 / 5
    assert coverage(_ranking([None]), TRAIN, 1) == 0


def test_novelty_is_the_mean_information_of_recommended_tracks() -> None:
    # 10 was played by 3 of 4 users, 11 by 1 of 4; 13 by nobody, which counts as one.
    assert novelty(_ranking([10, 11], [13, None]), TRAIN, 2) == pytest.approx((-log2(3 / 4) + 2 + 2) / 3)
    assert novelty(_ranking([10, 11]), TRAIN, 1) == pytest.approx(-log2(3 / 4))
    assert novelty(_ranking([None]), TRAIN, 1) == 0


def test_intra_list_diversity_is_one_minus_the_mean_cosine_of_users() -> None:
    # User 2 of the three users of 10 is the only user of 11: cosine 1 / sqrt(3). 12 and 13 share no user with others.
    assert intra_list_diversity(_ranking([10, 11]), TRAIN, 2) == pytest.approx(1 - 1 / sqrt(3))
    assert intra_list_diversity(_ranking([10, 11, 12]), TRAIN, 3) == pytest.approx(1 - 1 / sqrt(3) / 3)
    assert intra_list_diversity(_ranking([10, 12], [12, 13], [10, None]), TRAIN, 2) == pytest.approx(1)
    assert intra_list_diversity(_ranking([10], [None]), TRAIN, 1) == 0
    assert intra_list_diversity(_ranking(*[[10, 11]] * 2_500), TRAIN, 2) == pytest.approx(1 - 1 / sqrt(3))


def test_popularity_bias_compares_recommended_with_played_tracks() -> None:
    # Users 2 and 3 played 10, 11 and 12, with 3, 1 and 1 users: 5 / 3 on average. 10 and 12 have 2 on average.
    assert popularity_bias(_ranking([12], [10]), np.array([2, 3]), TRAIN, 1) == pytest.approx(2 / (5 / 3))
    assert popularity_bias(_ranking([None]), np.array([2]), TRAIN, 1) == 1


def test_means_are_over_users_with_holdout_tracks() -> None:
    measures = measure_ranking(_ranking([11], [13]), _holdout(u1=[11], u2=[12], u9=[10]), TRAIN, 1)
    assert measures.mean_recall == 1 / 2
    assert measures.mean_ndcg == 1 / 2
