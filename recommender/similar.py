"""Which tracks the same listeners play: for "similar tracks", and to say why something is recommended."""

from __future__ import annotations

import numpy as np
import polars as pl
from implicit.nearest_neighbours import ItemItemRecommender
from scipy.sparse import csr_matrix

from recommender.interactions import Interactions

# Listeners added to each track's own, so that one shared listener of two rare tracks does not make them twins.
_SHRUNK_BY = 5.0


def similar_tracks(interactions: Interactions, n: int) -> pl.DataFrame:
    """The n nearest tracks of each track by the cosine of their listeners: track_id, rank, similar_track_id, score.

    The cosine is shrunk: common listeners / sqrt((listeners + 5) (other's listeners + 5)), between 0 and 1. Tracks
    that share no listener are not similar; a track is not similar to itself.
    """
    listeners = np.bincount(interactions.plays.indices, minlength=len(interactions.track_ids))
    weights = (1 / np.sqrt(listeners + _SHRUNK_BY)).astype(np.float64)
    plays = interactions.plays
    matrix = csr_matrix((weights[plays.indices], plays.indices, plays.indptr), shape=plays.shape)
    nearest = ItemItemRecommender(K=n + 1)
    nearest.fit(matrix, show_progress=False)
    found = nearest.similarity.tocoo()
    frame = pl.DataFrame({"track": found.row, "other": found.col, "score": found.data}).filter(
        (pl.col("track") != pl.col("other")) & (pl.col("score") > 0)
    )
    rank = pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("track")
    ranked = frame.sort("track", "score", "other", descending=[False, True, False]).with_columns(rank=rank)
    kept, ids = ranked.filter(pl.col("rank") <= n), interactions.track_ids
    return pl.DataFrame(
        {
            "track_id": ids[kept["track"].to_numpy()],
            "rank": kept["rank"],
            "similar_track_id": ids[kept["other"].to_numpy()],
            "score": kept["score"],
        }
    )
