"""Which tracks the same users play: for "similar tracks", and to say why something is recommended."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.data.interactions import Ids, Interactions

# Users added to those of each track, so that one shared user does not make two rare tracks neighbours. Untuned: similar
# tracks have no held-out measure.
_SHRUNK_BY = 5.0
# Pairs of tracks held at once: some 100 MB.
_PAIRS_A_BLOCK = 8_000_000


def similar_tracks(interactions: Interactions, n: int) -> pl.DataFrame:
    """The n nearest tracks of each track by the cosine of their users: track_id, rank, similar_track_id, score.

    The cosine is shrunk: common users / sqrt((users + 5) (other's users + 5)), between 0 and 1. Tracks
    that share no user are not similar; a track is not similar to itself. Equal ones are in the order of their ids.
    """
    tracks, ranks, others, scores = [], [], [], []
    for track, near, cosines in _nearest(interactions.plays, n):
        tracks.append(np.full(len(near), track))
        ranks.append(np.arange(1, len(near) + 1, dtype=np.int32))
        others.append(near)
        scores.append(cosines)
    ids = interactions.track_ids
    nothing: Ids = np.empty(0, np.int64)
    return pl.DataFrame(
        {
            "track_id": ids[np.concatenate([nothing, *tracks])],
            "rank": np.concatenate([nothing.astype(np.int32), *ranks]),
            "similar_track_id": ids[np.concatenate([nothing, *others])],
            "score": np.concatenate([nothing.astype(np.float64), *scores]),
        }
    )


def _nearest(plays: csr_array, n: int) -> Iterator[tuple[int, Ids, NDArray[np.float64]]]:
    """Column, nearest columns and their scores, of each column that has any."""
    users = np.bincount(plays.indices, minlength=plays.shape[1])
    weight = 1 / np.sqrt(users + _SHRUNK_BY)
    played = csr_array((weight[plays.indices], plays.indices, plays.indptr), shape=plays.shape)
    of_tracks = csr_array(played.T)
    # Each user of a track brings all that they play: no row of the product has more pairs than these.
    lengths = np.diff(plays.indptr)
    most_pairs = np.minimum(
        csr_array((np.ones(of_tracks.nnz), of_tracks.indices, of_tracks.indptr), shape=of_tracks.shape) @ lengths,
        plays.shape[1],
    )
    for begin, end in _blocks(most_pairs):
        pairs = csr_array(of_tracks[begin:end] @ played)
        pairs.sort_indices()
        for row in range(end - begin):
            entries = slice(pairs.indptr[row], pairs.indptr[row + 1])
            columns, cosines = pairs.indices[entries], pairs.data[entries]
            other = columns != begin + row
            columns, cosines = columns[other], cosines[other]
            if len(cosines) > n:  # all that are as near as the n-th, so that equal ones are told apart by their ids
                close = cosines >= np.partition(cosines, -n)[-n]
                columns, cosines = columns[close], cosines[close]
            best = np.argsort(-cosines, kind="stable")[:n]
            yield begin + row, columns[best], cosines[best]


def _blocks(most_pairs: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Ranges of tracks that have not too many pairs together."""
    ends = np.cumsum(most_pairs)
    begin = 0
    while begin < len(ends):
        so_far = ends[begin - 1] if begin else 0.0
        end = max(begin + 1, int(np.searchsorted(ends, so_far + _PAIRS_A_BLOCK, side="right")))
        yield begin, end
        begin = end
