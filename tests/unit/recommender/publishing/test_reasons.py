"""Reasons of recommendations."""

from __future__ import annotations

import numpy as np
import polars as pl

from recommender.data.interactions import Interactions
from recommender.publishing import reasons
from recommender.publishing.similar_tracks import similar_tracks

# User 9 has played nothing. Track 50 is played by nobody.
HISTORIES = Interactions.from_pairs(
    [1, 1, 2, 2, 3, 3, 3], [10, 20, 10, 30, 20, 30, 40], known_users=[9], catalogue=[50]
)


def explained(part: pl.DataFrame, neighbours: int = 20) -> list[int | None]:
    similar = similar_tracks(HISTORIES, neighbours)
    (with_reasons,) = reasons.with_reasons([part], similar, HISTORIES)
    assert with_reasons.drop(reasons.REASON).equals(part)
    return with_reasons[reasons.REASON].to_list()


def test_reason_is_the_nearest_played_track() -> None:
    pairs = [(1, 30), (1, 50), (2, 20), (2, 40), (9, 10)]
    similar = similar_tracks(HISTORIES, 20)
    part = pl.DataFrame(pairs, ["user_id", "track_id"], orient="row")
    played = {1: {10, 20}, 2: {10, 30}, 9: set[int]()}
    nearest = []
    for user, track in pairs:
        near = similar.filter(pl.col("track_id") == track)["similar_track_id"].to_list()
        nearest.append(next((similar for similar in near if similar in played[user]), None))
    assert nearest[0] is not None
    assert explained(part) == nearest


def test_blocks_of_users_give_the_same_reasons(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    random = np.random.default_rng(3)
    users = np.sort(random.choice([1, 2, 3, 9], 200))
    part = pl.DataFrame({"user_id": users, "track_id": random.choice([10, 20, 30, 40, 50], 200)})
    at_once = explained(part)
    monkeypatch.setattr(reasons, "_PLAYED_BYTES", 1)
    assert explained(part) == at_once
    assert explained(part.clear()) == []
    assert any(at_once)
    assert None in at_once
