"""Recommendation lists: the model's tracks first, then popular tracks; no repeats, and scores do not increase."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from compute.blocks import IN_PROCESS, Block, BlockJob, BlockRunner, Result, State
from recommender.data.interactions import Interactions
from recommender.models.base import Recommender, Scores
from recommender.models.diversity import ExposureReranker
from recommender.models.ease import EASE
from recommender.models.popularity import GenrePopularity
from recommender.publishing.recommendation_lists import fallback_recommendations, recommend_to_all_users
from tests.unit.recommender.worlds import tasteful

# Tracks 1 to 5 by how many play them: 1 by four, 2 by three, 3 by two, 4 by one; nobody plays 5.
PLAYED = {1: (1, 2, 3), 2: (1, 2, 3), 3: (1, 2, 4), 4: (1,), 5: (), 6: (1, 2, 3, 4, 5)}
ALL_USERS = Interactions.from_pairs(
    [user for user, tracks in PLAYED.items() for _ in tracks],
    [track for tracks in PLAYED.values() for track in tracks],
    known_users=list(PLAYED),
    catalogue=range(1, 6),
    genres=["Rock", "Rock", "Jazz", "Jazz", "Jazz", ""],
)


class Names(Recommender):
    """Recommends fixed tracks with the scores 0, -1, -2 ... to users with plays."""

    name: ClassVar[str] = "names"

    def __init__(self, *tracks: int) -> None:
        super().__init__()
        self._tracks = list(tracks)

    def _fit(self, interactions: Interactions) -> None:
        pass

    def _score(self, users: Interactions) -> Scores:
        scores = np.full((len(users.user_ids), len(self._track_ids)), -np.inf, np.float32)
        scores[:, np.searchsorted(self._track_ids, self._tracks)] = -np.arange(len(self._tracks))
        return scores

    def _state(self) -> dict[str, NDArray[Any]]:
        return {"learned": np.ones(1)}

    def _restore(self, state: dict[str, NDArray[Any]]) -> None:
        pass


def recommend(
    model: Recommender, n: int, *, exclude_seen: bool = True, users_per_block: int = 1_000
) -> dict[int, list[tuple[int, float]]]:
    """The recommended tracks and scores of each user; ranks are consecutive."""
    popular = GenrePopularity().fit(ALL_USERS)
    fitted = model.fit(ALL_USERS)
    parts = list(
        recommend_to_all_users(
            fitted, popular, ALL_USERS, n, exclude_seen=exclude_seen, users_per_block=users_per_block
        )
    )
    frame = pl.concat(parts)
    assert frame.schema == {"user_id": pl.Int64, "rank": pl.Int32, "track_id": pl.Int64, "score": pl.Float64}
    recommendations: dict[int, list[tuple[int, float]]] = {}
    for user, rank, track, score in frame.rows():
        recommendations.setdefault(user, []).append((track, score))
        assert rank == len(recommendations[user])
    return recommendations


def tracks_of(recommendations: dict[int, list[tuple[int, float]]]) -> dict[int, list[int]]:
    for ranked in recommendations.values():
        scores = [score for _, score in ranked]
        assert scores == sorted(scores, reverse=True)
    return {user: [track for track, _ in ranked] for user, ranked in recommendations.items()}


def test_empty_ranks_are_filled_with_popular_tracks() -> None:
    recommendations = recommend(Names(5), 3)
    # User 6 played everything and gets nothing. User 5 played nothing and gets popular tracks only.
    assert tracks_of(recommendations) == {1: [5, 4], 2: [5, 4], 3: [5, 3], 4: [5, 2, 3], 5: [1, 2, 3]}
    # Fallback scores are capped by the scores of the model; a list of popular tracks keeps its scores.
    assert [score for _, score in recommendations[4]] == [0, 0, 0]
    assert recommendations[5][0][1] > 0.5


def test_fallback_does_not_repeat_tracks_of_the_model() -> None:
    assert tracks_of(recommend(Names(1, 2), 4, exclude_seen=False))[4] == [1, 2, 3, 4]
    assert tracks_of(recommend(Names(3, 1), 5, exclude_seen=False))[1] == [3, 1, 2, 4, 5]


def test_fallback_scores_are_capped_by_negative_model_scores() -> None:
    recommendations = recommend(Names(4, 5), 5)
    assert recommendations[4] == [(4, 0), (5, -1), (2, -1), (3, -1)]


def test_full_list_of_the_model_is_unchanged() -> None:
    assert recommend(Names(5, 4, 3, 2, 1), 2)[4] == [(5, 0), (4, -1)]


def test_list_longer_than_the_catalogue() -> None:
    assert tracks_of(recommend(Names(5), 50))[4] == [5, 2, 3, 4]


@pytest.mark.parametrize("size", [1, 4, 6])
def test_recommendations_do_not_depend_on_blocks(size: int) -> None:
    assert recommend(Names(5), 3, users_per_block=size) == recommend(Names(5), 3)


def test_fallback_exists_for_each_genre_and_for_all_users() -> None:
    popular = GenrePopularity(drawn_by=1.0).fit(ALL_USERS)
    frame = fallback_recommendations(popular, ALL_USERS.track_ids, 3)
    assert frame.schema == {"genre": pl.String, "rank": pl.Int32, "track_id": pl.Int64, "score": pl.Float64}
    groups = frame.group_by("genre", maintain_order=True)
    recommendations = {genre: rows["track_id"].to_list() for (genre,), rows in groups}
    assert recommendations == {"": [1, 2, 3], "Jazz": [1, 2, 4], "Rock": [1, 2, 3]}
    scores = frame.filter(pl.col("genre") == "Rock")["score"].to_list()
    # Both Rock users play 1, 2 and 3; one average user is added: all of five play 1, four play 2, three play 3.
    assert scores == pytest.approx([(2 + 5 / 5) / 3, (2 + 4 / 5) / 3, (2 + 3 / 5) / 3])


def test_genre_too_long_for_the_key_of_the_table_has_no_fallback() -> None:
    plays = Interactions.from_pairs(
        [1, 2, 3], [1, 1, 2], known_users=[1, 2, 3], genres=["Rock", "x" * 200, "y" * 5_000]
    )
    frame = fallback_recommendations(GenrePopularity().fit(plays), plays.track_ids, 2)
    assert set(frame["genre"]) == {"", "Rock", "x" * 200}


class ReversedRunner(BlockRunner):
    """Yields results in the reverse order of the blocks."""

    def run(
        self, job: BlockJob[State, Block, Result], state: State, blocks: Sequence[Block]
    ) -> Iterator[tuple[int, Result]]:
        yield from reversed([(number, job.compute(state, blocks[number])) for number in range(len(blocks))])


def test_reranked_lists_show_more_tracks_and_do_not_depend_on_the_order_of_results() -> None:
    plays = tasteful(users=200, tracks=300)
    model, popular = EASE().fit(plays), GenrePopularity().fit(plays)

    def lists(strength: float, runner: BlockRunner, seed: int = 0) -> pl.DataFrame:
        reranker = ExposureReranker(strength, plays.track_ids) if strength else None
        arguments: dict[str, Any] = {"exclude_seen": True, "reranker": reranker, "seed": seed, "runner": runner}
        parts = recommend_to_all_users(model, popular, plays, 5, users_per_block=30, **arguments)
        return pl.concat(parts).sort("user_id", "rank")

    plain, reranked = lists(0.0, IN_PROCESS), lists(0.5, IN_PROCESS)
    assert reranked.equals(lists(0.5, ReversedRunner()))
    assert not reranked.equals(lists(0.5, IN_PROCESS, seed=1))
    assert reranked["track_id"].n_unique() > 1.1 * plain["track_id"].n_unique()
    assert reranked["rank"].to_list() == [1, 2, 3, 4, 5] * 200
    assert (reranked["score"].diff().fill_null(0) <= 0).filter(reranked["rank"] > 1).all()
    played = set(zip(plays.user_ids[plays.plays.tocoo().coords[0]], plays.track_ids[plays.plays.indices], strict=True))
    assert not played & set(reranked.select("user_id", "track_id").iter_rows())


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_hidden_tracks_are_replaced_by_others(exclude_seen: bool) -> None:
    """User 4 hides the tracks that the model recommends, user 5 all but track 4, and user 1 everything."""
    hidden = {1: (1, 2, 3, 4, 5), 4: (2, 3), 5: (1, 2, 3, 5)}
    pairs = Interactions.from_pairs(
        [user for user, tracks in hidden.items() for _ in tracks],
        [track for tracks in hidden.values() for track in tracks],
        known_users=list(PLAYED),
        catalogue=range(1, 6),
    )
    parts = recommend_to_all_users(
        Names(2, 3, 4).fit(ALL_USERS), GenrePopularity().fit(ALL_USERS), ALL_USERS, 2, exclude_seen=exclude_seen,
        hidden=pairs.plays, users_per_block=2,
    )  # fmt: skip
    lists = pl.concat(parts).group_by("user_id").agg(pl.col("track_id").sort_by("rank")).rows()
    tracks = dict(lists)
    assert 1 not in tracks
    assert (len(tracks[4]), tracks[4][0], set(tracks[4]) & {2, 3}) == (2, 4, set())
    assert tracks[5] == [4]
    assert tracks[2] == ([4, 5] if exclude_seen else [2, 3])
