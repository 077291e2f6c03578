"""Similar tracks: the shrunk cosine, calculated by hand and by brute force."""

from __future__ import annotations

from math import sqrt

import numpy as np
import polars as pl
import pytest

from recommender.data.interactions import Interactions
from recommender.publishing.similar_tracks import similar_tracks
from tests.unit.recommender.worlds import tasteful


def test_similarity_is_the_shrunk_cosine() -> None:
    # Users of track 10: 1, 2, 3; of 20: 1, 2; of 30: 3, 4; of 40: 5; of 50: none. The number of plays does not count.
    users, tracks = [1, 2, 3, 1, 2, 3, 4, 5], [10, 10, 10, 20, 20, 30, 30, 40]
    similar = similar_tracks(Interactions.from_pairs(users, tracks, [9, 1, 1, 1, 7, 1, 1, 1], catalogue=[50]), 2)

    assert similar.columns == ["track_id", "rank", "similar_track_id", "score"]
    expected = [
        (10, 1, 20, 2 / sqrt(8 * 7)),
        (10, 2, 30, 1 / sqrt(8 * 7)),
        (20, 1, 10, 2 / sqrt(7 * 8)),
        (30, 1, 10, 1 / sqrt(7 * 8)),
    ]
    assert [row[:3] for row in similar.rows()] == [row[:3] for row in expected]
    assert similar["score"].to_list() == pytest.approx([row[3] for row in expected])


def test_lower_ids_win_ties_of_similarity() -> None:
    similar = similar_tracks(Interactions.from_pairs([1] * 5, [2**63 - 1, 3, 9, 5, 7]), 2)
    assert similar.filter(pl.col("track_id") == 9)["similar_track_id"].to_list() == [3, 5]
    assert similar.filter(pl.col("track_id") == 3)["similar_track_id"].to_list() == [5, 7]
    assert similar["rank"].to_list() == [1, 2] * 5


@pytest.mark.parametrize(
    "interactions",
    [
        Interactions.from_pairs([], []),
        Interactions.from_pairs([], [], known_users=[1], catalogue=[1, 2]),
        Interactions.from_pairs([1], [1]),
        Interactions.from_pairs([1, 2], [1, 2]),
    ],
    ids=["nothing", "no plays", "one track", "nothing in common"],
)
def test_no_common_users_give_no_similar_tracks(interactions: Interactions) -> None:
    similar = similar_tracks(interactions, 3)
    assert similar.schema == {"track_id": pl.Int64, "rank": pl.Int32, "similar_track_id": pl.Int64, "score": pl.Float64}
    assert not len(similar)


@pytest.mark.parametrize("pairs_a_block", [1, 50, 10**9])
def test_similar_tracks_equal_brute_force(pairs_a_block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recommender.publishing.similar_tracks._PAIRS_A_BLOCK", pairs_a_block)
    world = tasteful(users=40, tracks=20)
    played = world.plays.toarray() > 0
    audience = played.sum(axis=0)
    cosine = (played.T.astype(float) @ played) / np.sqrt(np.outer(audience + 5, audience + 5))
    np.fill_diagonal(cosine, 0)

    similar = similar_tracks(world, 4)

    for track in range(20):
        neighbours = similar.filter(pl.col("track_id") == world.track_ids[track])
        expected = sorted(cosine[track][cosine[track] > 0], reverse=True)[:4]
        assert neighbours["score"].to_list() == pytest.approx(expected)
        columns = np.searchsorted(world.track_ids, neighbours["similar_track_id"].to_numpy())
        assert neighbours["score"].to_list() == pytest.approx(cosine[track][columns].tolist())
