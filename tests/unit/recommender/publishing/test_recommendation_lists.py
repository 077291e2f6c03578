"""A list: the model's tracks first, then what is popular, each track once, and no score above the one before."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from recommender.data.interactions import Interactions
from recommender.models.base import Recommender, Scores
from recommender.models.popularity import GenrePopularity
from recommender.publishing.recommendation_lists import fallback_recommendations, recommend_to_all_users

# Tracks 1 to 5 by how many play them: 1 by four, 2 by three, 3 by two, 4 by one; nobody plays 5.
PLAYED = {1: (1, 2, 3), 2: (1, 2, 3), 3: (1, 2, 4), 4: (1,), 5: (), 6: (1, 2, 3, 4, 5)}
EVERYONE = Interactions.from_pairs(
    [user for user, tracks in PLAYED.items() for _ in tracks],
    [track for tracks in PLAYED.values() for track in tracks],
    known_users=list(PLAYED),
    catalogue=range(1, 6),
    genres=["Rock", "Rock", "Jazz", "Jazz", "Jazz", ""],
)


class Names(Recommender):
    """Gives listeners some tracks with the scores 0, -1, -2 and so on, if they played anything."""

    name: ClassVar[str] = "names"

    def __init__(self, *tracks: int) -> None:
        super().__init__()
        self._tracks = list(tracks)

    def _fit(self, interactions: Interactions) -> None:
        pass

    def _score(self, listeners: Interactions) -> Scores:
        scores = np.full((len(listeners.user_ids), len(self._track_ids)), -np.inf, np.float32)
        scores[:, np.searchsorted(self._track_ids, self._tracks)] = -np.arange(len(self._tracks))
        return scores

    def _state(self) -> dict[str, NDArray[Any]]:
        return {"learned": np.ones(1)}

    def _restore(self, state: dict[str, NDArray[Any]]) -> None:
        pass


def made(model: Recommender, n: int, *, exclude_seen: bool = True) -> dict[int, list[tuple[int, float]]]:
    """Tracks and scores of each listener; ranks are whole."""
    popular = GenrePopularity().fit(EVERYONE)
    parts = list(recommend_to_all_users(model.fit(EVERYONE), popular, EVERYONE, n, exclude_seen=exclude_seen))
    frame = pl.concat(parts)
    assert frame.schema == {"user_id": pl.Int64, "rank": pl.Int32, "track_id": pl.Int64, "score": pl.Float64}
    found: dict[int, list[tuple[int, float]]] = {}
    for user, rank, track, score in frame.rows():
        found.setdefault(user, []).append((track, score))
        assert rank == len(found[user])
    return found


def tracks_of(found: dict[int, list[tuple[int, float]]]) -> dict[int, list[int]]:
    for ranked in found.values():
        scores = [score for _, score in ranked]
        assert scores == sorted(scores, reverse=True)
    return {user: [track for track, _ in ranked] for user, ranked in found.items()}


def test_what_the_model_leaves_open_is_filled_with_what_is_popular() -> None:
    found = made(Names(5), 3)
    # Who played everything has no list; who played nothing gets what is popular, and nothing of the model.
    assert tracks_of(found) == {1: [5, 4], 2: [5, 4], 3: [5, 3], 4: [5, 2, 3], 5: [1, 2, 3]}
    # What fills up is not above what the model named; a list of popularity keeps its own scores.
    assert [score for _, score in found[4]] == [0, 0, 0]
    assert found[5][0][1] > 0.5


def test_what_the_model_named_does_not_come_again() -> None:
    assert tracks_of(made(Names(1, 2), 4, exclude_seen=False))[4] == [1, 2, 3, 4]
    assert tracks_of(made(Names(3, 1), 5, exclude_seen=False))[1] == [3, 1, 2, 4, 5]


def test_scores_of_the_popular_stay_below_negative_ones_of_the_model() -> None:
    found = made(Names(4, 5), 5)
    assert found[4] == [(4, 0), (5, -1), (2, -1), (3, -1)]


def test_a_model_that_has_enough_to_say_is_left_alone() -> None:
    assert made(Names(5, 4, 3, 2, 1), 2)[4] == [(5, 0), (4, -1)]


def test_a_longer_list_than_there_are_tracks() -> None:
    assert tracks_of(made(Names(5), 50))[4] == [5, 2, 3, 4]


@pytest.mark.parametrize("part", [1, 4, 6])
def test_the_parts_make_no_difference(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = made(Names(5), 3)
    monkeypatch.setattr("recommender.publishing.recommendation_lists._USERS_PER_PART", part)
    assert made(Names(5), 3) == whole


def test_a_fallback_for_each_genre_and_for_everyone() -> None:
    popular = GenrePopularity(drawn_by=1.0).fit(EVERYONE)
    frame = fallback_recommendations(popular, EVERYONE.track_ids, 3)
    assert frame.schema == {"genre": pl.String, "rank": pl.Int32, "track_id": pl.Int64, "score": pl.Float64}
    found = {genre: rows["track_id"].to_list() for (genre,), rows in frame.group_by("genre", maintain_order=True)}
    assert found == {"": [1, 2, 3], "Jazz": [1, 2, 4], "Rock": [1, 2, 3]}
    scores = frame.filter(pl.col("genre") == "Rock")["score"].to_list()
    # Both of Rock play 1, 2 and 3, and one more listener like everyone: all of five play 1, four 2, three 3.
    assert scores == pytest.approx([(2 + 5 / 5) / 3, (2 + 4 / 5) / 3, (2 + 3 / 5) / 3])
