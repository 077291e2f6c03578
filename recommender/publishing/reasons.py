"""Reasons of recommendations: the most similar track that the user has played."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:  # an ingest needs REASON, and must not import SciPy
    from recommender.data.interactions import Interactions

REASON = "because_track_id"
_PLAYED_BYTES = 32 * 2**20


def with_reasons(
    parts: Iterable[pl.DataFrame], similar: pl.DataFrame, histories: Interactions
) -> Iterator[pl.DataFrame]:
    """Add the column `because_track_id` to recommendations whose users ascend, as `recommend_to_all_users` yields them.

    It is the nearest of the similar tracks of a recommended track that the user has played, and null if none was.
    """
    tracks, users = len(histories.track_ids), max(1, _PLAYED_BYTES // max(1, len(histories.track_ids)))
    # One row per track, nearest first. -1 is no track; it is the last column of `played`, which stays False.
    neighbours = np.full((tracks, int(similar["rank"].max() or 1)), -1, np.int32)  # type: ignore[arg-type]
    neighbours[histories.track_columns(similar["track_id"]), similar["rank"].to_numpy() - 1] = histories.track_columns(
        similar["similar_track_id"]
    )
    for part in parts:
        rows, columns = histories.user_rows(part["user_id"]), histories.track_columns(part["track_id"])
        because = np.full(len(part), -1, np.int64)
        for begin in range(int(rows.min(initial=0)), int(rows.max(initial=-1)) + 1, users):
            block = histories[begin : begin + users]
            played = np.zeros((len(block.user_ids), tracks + 1), bool)
            played[np.repeat(np.arange(len(block.user_ids)), np.diff(block.plays.indptr)), block.plays.indices] = True
            entries = slice(*np.searchsorted(rows, [begin, begin + users]).tolist())
            near = neighbours[columns[entries]]
            is_played = played[(rows[entries] - begin)[:, None], near]
            nearest = is_played.argmax(axis=1)
            position = np.arange(len(near))
            because[entries] = np.where(is_played[position, nearest], near[position, nearest], -1)
        ids = pl.Series(REASON, histories.track_ids[because] if tracks else np.zeros(len(part), np.int64))
        yield part.with_columns(ids.set(pl.Series(because < 0), None))
