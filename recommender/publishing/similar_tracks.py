"""Similar tracks by common users. They also explain recommendations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.data.interactions import Ids, Interactions, in_parts

# Added to the users of each track, so that one common user does not make two rare tracks similar. Untuned: similar
# tracks have no held-out metric.
_SHRUNK_BY = 5.0
# Pairs of tracks per block: about 100 MB.
_PAIRS_A_BLOCK = 8_000_000


def similar_tracks(interactions: Interactions, n: int) -> pl.DataFrame:
    """The n nearest tracks of each track by the cosine of their users: track_id, rank, similar_track_id, score.

    The cosine is shrunk: common users / sqrt((users of one + 5) (users of the other + 5)), between 0 and 1. Tracks
    without common users are not similar, and a track is not similar to itself. Ties are in the order of ids.
    """
    tracks, ranks, neighbours, scores = [], [], [], []
    for track, near, cosines in _nearest(interactions, n):
        tracks.append(np.full(len(near), track))
        ranks.append(np.arange(1, len(near) + 1, dtype=np.int32))
        neighbours.append(near)
        scores.append(cosines)
    ids = interactions.track_ids
    no_ids: Ids = np.empty(0, np.int64)
    return pl.DataFrame(
        {
            "track_id": ids[np.concatenate([no_ids, *tracks])],
            "rank": np.concatenate([no_ids.astype(np.int32), *ranks]),
            "similar_track_id": ids[np.concatenate([no_ids, *neighbours])],
            "score": np.concatenate([no_ids.astype(np.float64), *scores]),
        }
    )


def _nearest(interactions: Interactions, n: int) -> Iterator[tuple[int, Ids, NDArray[np.float64]]]:
    """Yield each column that has neighbours, with its nearest columns and their scores."""
    plays = interactions.plays
    weight = 1 / np.sqrt(interactions.users_per_track + _SHRUNK_BY)
    values = np.empty(plays.nnz)
    for part in in_parts(len(values)):
        values[part] = weight[plays.indices[part]]
    played = csr_array((values, plays.indices, plays.indptr), shape=plays.shape)
    of_tracks = csr_array(played.T)
    most_pairs = np.minimum(_plays_of_users(of_tracks, np.diff(plays.indptr)), plays.shape[1])
    for begin, end in _blocks(most_pairs):
        pairs = csr_array(of_tracks[begin:end] @ played)
        pairs.sort_indices()
        for row in range(end - begin):
            entries = slice(pairs.indptr[row], pairs.indptr[row + 1])
            columns, cosines = pairs.indices[entries], pairs.data[entries]
            is_other = columns != begin + row
            columns, cosines = columns[is_other], cosines[is_other]
            if len(cosines) > n:  # keep all ties with the nth, so that ids decide between them
                close = cosines >= np.partition(cosines, -n)[-n]
                columns, cosines = columns[close], cosines[close]
            best = np.argsort(-cosines, kind="stable")[:n]
            yield begin + row, columns[best], cosines[best]


def _plays_of_users(of_tracks: csr_array, lengths: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """An upper bound of the pairs of each track: the plays of all its users. `lengths` are the plays of each user."""
    sums = np.zeros(of_tracks.shape[0])
    for part in in_parts(of_tracks.nnz):
        entries = np.arange(part.start, min(part.stop, of_tracks.nnz))
        rows = np.searchsorted(of_tracks.indptr, entries, side="right") - 1
        sums += np.bincount(rows, weights=lengths[of_tracks.indices[part]], minlength=len(sums))
    return sums


def _blocks(most_pairs: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Ranges of tracks with a bounded number of pairs."""
    ends = np.cumsum(most_pairs)
    begin = 0
    while begin < len(ends):
        previous = ends[begin - 1] if begin else 0.0
        end = max(begin + 1, int(np.searchsorted(ends, previous + _PAIRS_A_BLOCK, side="right")))
        yield begin, end
        begin = end
