"""Recommend to all users, and fill short recommendation lists with popular tracks."""

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
    """Yield the recommendations of all users in frames of bounded size: user_id, rank from 1, track_id, score.

    Both models are folded in on `histories`. A list has n tracks, or all available tracks; scores do not increase.
    """
    for begin in range(0, len(histories.user_ids), _USERS_PER_PART):
        users = histories.user_ids[begin : begin + _USERS_PER_PART]
        exclude = histories if exclude_seen else None
        ranking = model.recommend(users, n, exclude)
        _fill_up(ranking, users, fallback, exclude)
        yield _as_frame(users, ranking)


def fallback_recommendations(fallback: GenrePopularity, catalogue: Ids, n: int) -> pl.DataFrame:
    """Recommend to each favourite genre; the genre '' is all users. Columns: genre, rank from 1, track_id, score."""
    genres = np.array(fallback.genres)
    genre_users = Interactions.from_pairs(
        [], [], known_users=np.arange(len(genres)), genres=genres, catalogue=catalogue
    )
    ranking = fallback.fold_in(genre_users).recommend(genre_users.user_ids, n)
    frame = _as_frame(genre_users.user_ids, ranking)
    return frame.select(pl.Series("genre", genres[frame["user_id"].to_numpy()]), "rank", "track_id", "score")


def _fill_up(ranking: Ranking, users: Ids, fallback: GenrePopularity, exclude: Interactions | None) -> None:
    """Fill empty ranks with tracks of the fallback, whose scores are capped so that scores do not increase."""
    lengths = np.isfinite(ranking.scores).sum(axis=1)
    n = ranking.ids.shape[1]
    short = np.flatnonzero(lengths < n)
    if not len(short):
        return
    # Enough tracks, even if the listed ones are the most popular.
    popular = fallback.recommend(users[short], n + int(lengths[short].max()), exclude)
    is_empty = lengths[short] == 0
    ranking.ids[short[is_empty]] = popular.ids[is_empty, :n]
    ranking.scores[short[is_empty]] = popular.scores[is_empty, :n]
    for popular_row in np.flatnonzero(~is_empty).tolist():
        _append(ranking, int(short[popular_row]), int(lengths[short[popular_row]]), popular, popular_row)


def _append(ranking: Ranking, row: int, length: int, popular: Ranking, popular_row: int) -> None:
    is_new = np.isfinite(popular.scores[popular_row]) & ~np.isin(popular.ids[popular_row], ranking.ids[row, :length])
    tracks, scores = popular.ids[popular_row][is_new], popular.scores[popular_row][is_new]
    ranks = slice(length, min(length + len(tracks), ranking.ids.shape[1]))
    count = ranks.stop - length
    ranking.ids[row, ranks] = tracks[:count]
    ranking.scores[row, ranks] = np.minimum(scores[:count], ranking.scores[row, length - 1])


def _as_frame(users: Ids, ranking: Ranking) -> pl.DataFrame:
    rows, ranks = np.nonzero(np.isfinite(ranking.scores))
    return pl.DataFrame(
        {
            "user_id": users[rows],
            "rank": (ranks + 1).astype(np.int32),
            "track_id": ranking.ids[rows, ranks],
            "score": ranking.scores[rows, ranks].astype(np.float64),
        }
    )
