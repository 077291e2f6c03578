"""Similar tracks: the shrunk cosine of their listeners, by hand and by brute force."""

from __future__ import annotations

from math import sqrt

import numpy as np
import polars as pl
import pytest

from recommender.data.interactions import Interactions
from recommender.publishing.similar_tracks import similar_tracks
from tests.unit.recommender.worlds import tasteful


def test_common_listeners_by_the_roots_of_both_audiences_and_five_each() -> None:
    # Track 10 is played by 1, 2, 3; 20 by 1, 2; 30 by 3, 4; 40 by 5; how often does not count. Nobody played 50.
    users, tracks = [1, 2, 3, 1, 2, 3, 4, 5], [10, 10, 10, 20, 20, 30, 30, 40]
    found = similar_tracks(Interactions.from_pairs(users, tracks, [9, 1, 1, 1, 7, 1, 1, 1], catalogue=[50]), 2)

    assert found.columns == ["track_id", "rank", "similar_track_id", "score"]
    expected = [
        (10, 1, 20, 2 / sqrt(8 * 7)),
        (10, 2, 30, 1 / sqrt(8 * 7)),
        (20, 1, 10, 2 / sqrt(7 * 8)),
        (30, 1, 10, 1 / sqrt(7 * 8)),
    ]
    assert [row[:3] for row in found.rows()] == [row[:3] for row in expected]
    assert found["score"].to_list() == pytest.approx([row[3] for row in expected])


def test_of_equally_near_ones_those_with_lower_ids_come_first() -> None:
    found = similar_tracks(Interactions.from_pairs([1] * 5, [2**63 - 1, 3, 9, 5, 7]), 2)
    assert found.filter(pl.col("track_id") == 9)["similar_track_id"].to_list() == [3, 5]
    assert found.filter(pl.col("track_id") == 3)["similar_track_id"].to_list() == [5, 7]
    assert found["rank"].to_list() == [1, 2] * 5


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
def test_where_nothing_is_similar(interactions: Interactions) -> None:
    found = similar_tracks(interactions, 3)
    assert found.schema == {"track_id": pl.Int64, "rank": pl.Int32, "similar_track_id": pl.Int64, "score": pl.Float64}
    assert not len(found)


@pytest.mark.parametrize("pairs_a_block", [1, 50, 10**9])
def test_the_same_as_every_pair_counted(pairs_a_block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recommender.publishing.similar_tracks._PAIRS_A_BLOCK", pairs_a_block)
    world = tasteful(users=40, tracks=20)
    played = world.plays.toarray() > 0
    audience = played.sum(axis=0)
    cosine = (played.T.astype(float) @ played) / np.sqrt(np.outer(audience + 5, audience + 5))
    np.fill_diagonal(cosine, 0)

    found = similar_tracks(world, 4)

    for track in range(20):
        mine = found.filter(pl.col("track_id") == world.track_ids[track])
        assert mine["score"].to_list() == pytest.approx(sorted(cosine[track][cosine[track] > 0], reverse=True)[:4])
        columns = np.searchsorted(world.track_ids, mine["similar_track_id"].to_numpy())
        assert mine["score"].to_list() == pytest.approx(cosine[track][columns].tolist())
