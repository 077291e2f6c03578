"""Everyone's list: what a model recommends, filled up with what is popular where the model has nothing to say."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from recommender.data.interactions import Ids, Interactions
from recommender.models.base import Ranking, Recommender
from recommender.models.popularity import GenrePopularity

_USERS_PER_PART = 50_000


def recommend_to_all_users(
    model: Recommender, fallback: GenrePopularity, histories: Interactions, n: int, *, exclude_seen: bool
) -> Iterator[pl.DataFrame]:
    """The list of each user in `histories`, in frames of bounded size: user_id, rank from 1, track_id, score.

    Both models know `histories` as their histories. A list holds n tracks, or all there are; scores never rise.
    """
    for begin in range(0, len(histories.user_ids), _USERS_PER_PART):
        users = histories.user_ids[begin : begin + _USERS_PER_PART]
        exclude = histories if exclude_seen else None
        ranking = model.recommend(users, n, exclude)
        _fill_up(ranking, users, fallback, exclude)
        yield _as_frame(users, ranking)


def fallback_recommendations(fallback: GenrePopularity, catalogue: Ids, n: int) -> pl.DataFrame:
    """The list of each favourite genre, '' being everyone: genre, rank from 1, track_id, score."""
    genres = np.array(fallback.genres)
    genre_users = Interactions.of([], [], known_users=np.arange(len(genres)), genres=genres, catalogue=catalogue)
    ranking = fallback.fold_in(genre_users).recommend(genre_users.user_ids, n)
    frame = _as_frame(genre_users.user_ids, ranking)
    return frame.select(pl.Series("genre", genres[frame["user_id"].to_numpy()]), "rank", "track_id", "score")


def _fill_up(ranking: Ranking, users: Ids, fallback: GenrePopularity, exclude: Interactions | None) -> None:
    """Put tracks of the fallback into the places left, none of which then has a higher score than the one before."""
    found = np.isfinite(ranking.scores).sum(axis=1)
    n = ranking.ids.shape[1]
    short = np.flatnonzero(found < n)
    if not len(short):
        return
    # Enough of them, even if those already listed are the most popular ones.
    others = fallback.recommend(users[short], n + int(found[short].max()), exclude)
    without = found[short] == 0
    ranking.ids[short[without]] = others.ids[without, :n]
    ranking.scores[short[without]] = others.scores[without, :n]
    for line in np.flatnonzero(~without).tolist():
        _append(ranking, int(short[line]), int(found[short[line]]), others, line)


def _append(ranking: Ranking, row: int, listed: int, others: Ranking, line: int) -> None:
    new = np.isfinite(others.scores[line]) & ~np.isin(others.ids[line], ranking.ids[row, :listed])
    tracks, scores = others.ids[line][new], others.scores[line][new]
    places = slice(listed, min(listed + len(tracks), ranking.ids.shape[1]))
    room = places.stop - listed
    ranking.ids[row, places] = tracks[:room]
    ranking.scores[row, places] = np.minimum(scores[:room], ranking.scores[row, listed - 1])


def _as_frame(users: Ids, ranking: Ranking) -> pl.DataFrame:
    rows, places = np.nonzero(np.isfinite(ranking.scores))
    return pl.DataFrame(
        {
            "user_id": users[rows],
            "rank": (places + 1).astype(np.int32),
            "track_id": ranking.ids[rows, places],
            "score": ranking.scores[rows, places].astype(np.float64),
        }
    )
