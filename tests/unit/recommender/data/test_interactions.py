"""Interactions: pairs add up, ids are exact, and invalid plays are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from core.errors import InteractionsError
from recommender.data.interactions import ARTIST, GENRE, Interactions
from recommender.data.item_attributes import attribute_codes
from recommender.data.play_log import PlayLog, PlayWeighting
from recommender.evaluation.splitting import split_by_user

SMALLEST, LARGEST = -(2**63), 2**63 - 1
WITH_GENRES = Interactions.from_pairs(
    [2, 1, 2, 2], [20, 10, 10, 20], [1, 2, 3, 4], known_users=[1, 3], genres=["jazz", "rock"]
)
WITH_ATTRIBUTES = Interactions.from_pairs(
    [2, 1], [20, 10], catalogue=[30, 20], item_attributes={ARTIST: [5, 6], GENRE: [-1, 0]}
)


def test_pairs_add_up_and_ids_ascend() -> None:
    assert WITH_GENRES.user_ids.tolist() == [1, 2, 3]
    assert WITH_GENRES.track_ids.tolist() == [10, 20]
    assert WITH_GENRES.plays.toarray().tolist() == [[2, 0], [3, 5], [0, 0]]
    assert WITH_GENRES.genres.tolist() == ["jazz", "", "rock"]
    assert WITH_GENRES.users_with_plays.tolist() == [1, 2]
    assert len(WITH_GENRES) == 3


def test_zero_plays_keep_the_track_without_an_interaction() -> None:
    interactions = Interactions.from_pairs([1, 1], [10, 11], [0, 1])
    assert len(interactions) == 1
    assert interactions.track_ids.tolist() == [10, 11]


def test_64_bit_ids_are_exact() -> None:
    interactions = Interactions.from_pairs([LARGEST, SMALLEST, LARGEST - 1], [SMALLEST, LARGEST, 0])
    assert interactions.user_ids.tolist() == [SMALLEST, LARGEST - 1, LARGEST]
    assert interactions.user_rows([LARGEST, 5]).tolist() == [2, -1]
    assert interactions.track_columns([LARGEST, SMALLEST]).tolist() == [2, 0]


@pytest.mark.parametrize("ids", [[1.0], ["1"], [True], np.array([2**63], np.uint64)])
def test_ids_other_than_64_bit_integers_are_refused(ids: Any) -> None:
    with pytest.raises(InteractionsError, match="user ids must be integers"):
        Interactions.from_pairs(ids, [1])
    with pytest.raises(InteractionsError, match="track ids must be integers"):
        Interactions.from_pairs([1], ids)


@pytest.mark.parametrize("plays", [float("nan"), float("inf"), -1, -0.5, 1e39])
def test_invalid_plays_are_refused_with_the_first_pair(plays: float) -> None:
    with pytest.raises(InteractionsError, match=r"1 of 2 are not, the first is .* \(user 8, track 9\)"):
        Interactions.from_pairs([7, 8], [9, 9], [1, plays])


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(InteractionsError, match="2 users, 1 tracks and 2 plays"):
        Interactions.from_pairs([1, 2], [1])


def test_select_users_accepts_any_order_and_unknown_users() -> None:
    selected = WITH_GENRES.select_users([9, 2, 2])
    assert selected.plays.toarray().tolist() == [[0, 0], [3, 5], [3, 5]]
    assert WITH_GENRES.select_users([3]).genres.tolist() == ["rock"]


def test_select_tracks_returns_the_requested_columns() -> None:
    assert WITH_GENRES.select_tracks(np.array([5, 20])).plays.toarray().tolist() == [[0, 0], [0, 5], [0, 0]]
    assert WITH_GENRES.select_tracks(WITH_GENRES.track_ids) is WITH_GENRES


@pytest.mark.parametrize(
    "interactions",
    [WITH_GENRES, WITH_ATTRIBUTES, Interactions.from_pairs([], []), Interactions.from_pairs([LARGEST], [SMALLEST])],
)
def test_saved_interactions_are_loaded_unchanged(tmp_path: Path, interactions: Interactions) -> None:
    interactions.save(tmp_path / "plays.npz")
    loaded = Interactions.load(tmp_path / "plays.npz")
    assert loaded.user_ids.tolist() == interactions.user_ids.tolist()
    assert loaded.track_ids.tolist() == interactions.track_ids.tolist()
    assert loaded.genres.tolist() == interactions.genres.tolist()
    assert loaded.plays.toarray().tolist() == interactions.plays.toarray().tolist()
    assert attributes_of(loaded) == attributes_of(interactions)


def test_empty_interactions_have_no_rows() -> None:
    no_plays = Interactions.from_pairs([], [])
    assert not len(no_plays)
    assert no_plays.user_rows([1]).tolist() == [-1]
    assert no_plays.select_users([1]).plays.shape == (1, 0)


def attributes_of(interactions: Interactions) -> dict[str, list[int]]:
    return {kind: codes.tolist() for kind, codes in interactions.item_attributes.items()}


def test_item_attributes_belong_to_the_catalogue_and_are_unknown_for_other_tracks() -> None:
    assert WITH_ATTRIBUTES.track_ids.tolist() == [10, 20, 30]
    assert attributes_of(WITH_ATTRIBUTES) == {ARTIST: [-1, 6, 5], GENRE: [-1, 0, -1]}
    assert attributes_of(WITH_GENRES) == {}
    with pytest.raises(InteractionsError, match="2 tracks and 1 item attributes are not the same number"):
        Interactions.from_pairs([1], [1], catalogue=[1, 2], item_attributes={ARTIST: [0]})


def test_item_attributes_stay_with_their_tracks() -> None:
    expected = attributes_of(WITH_ATTRIBUTES)
    assert attributes_of(WITH_ATTRIBUTES[0:1]) == attributes_of(WITH_ATTRIBUTES.select_users([2, 9])) == expected
    assert attributes_of(WITH_ATTRIBUTES.select_tracks(np.array([5, 30]))) == {ARTIST: [-1, 5], GENRE: [-1, -1]}
    split = split_by_user(
        Interactions.from_pairs([1] * 4, range(4), catalogue=range(4), item_attributes={ARTIST: range(4)})
    )
    assert attributes_of(split.train) == {ARTIST: [0, 1, 2, 3]}
    times = np.array(["2024-01-01", "2024-01-03"], "datetime64[s]")
    log = PlayLog(
        np.array([1, 1]),
        np.array([4, 5]),
        np.ones(2),
        times,
        catalogue=np.array([4]),
        item_attributes={ARTIST: np.array([7], np.int32)},
    )
    assert attributes_of(log.interactions("2024-01-02")) == {ARTIST: [7]}
    assert attributes_of(log.interactions("2024-01-04", PlayWeighting(half_life_days=1))) == {ARTIST: [7, -1]}


def test_item_attributes_can_be_added_later() -> None:
    described = WITH_GENRES.with_item_attributes([30, 10], {GENRE: [3, 4]})
    assert described.track_ids.tolist() == [10, 20, 30]
    assert attributes_of(described) == {GENRE: [4, -1, 3]}
    assert described.plays.toarray().tolist() == [[2, 0, 0], [3, 5, 0], [0, 0, 0]]


def test_equal_texts_share_a_code_and_blank_texts_are_unknown() -> None:
    texts = pl.Series(["soul, funk", "", None, " jazz ", "jazz", "  "])
    assert attribute_codes(texts).tolist() == [1, -1, -1, 0, 0, -1]
    assert attribute_codes(pl.Series([3, 1, 3])).tolist() == [1, 0, 1]
    assert attribute_codes(pl.Series([None, None])).tolist() == [-1, -1]
    assert attribute_codes(pl.Series([], dtype=pl.String)).tolist() == []
