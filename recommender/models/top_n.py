"""Select the n best scores of each row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

_BYTES_A_BLOCK = 16 * 2**20
_DEPTH = 16

Scores = NDArray[np.float32]
Columns = NDArray[np.intp]


def rows_per_block(columns: int) -> int:
    """The number of users per block, so that a block of scores stays within 16 MiB."""
    return max(1, _BYTES_A_BLOCK // (4 * max(columns, 1)))


def top_n(scores: Scores, n: int) -> tuple[Columns, Scores]:
    """Return columns and scores of the n highest scores of each row, best first; ties in column order.

    A score of -inf is never selected; missing columns are -1. Raises FloatingPointError when a score is NaN or +inf.
    """
    rows, width = scores.shape
    n = min(n, width)
    columns, values = np.full((rows, n), -1, np.intp), np.full((rows, n), -np.inf, np.float32)
    if not scores.size or not n:
        return columns, values
    row, column, value = _candidates(np.ascontiguousarray(scores), n)
    order = np.lexsort((column, -value, row))
    row, column, value = row[order], column[order], value[order]
    rank = np.arange(len(row)) - np.searchsorted(row, np.arange(rows))[row]
    selected = rank < n
    columns[row[selected], rank[selected]] = column[selected]
    values[row[selected], rank[selected]] = value[selected]
    return columns, values


def exclude_pairs(scores: Scores, pairs: csr_array) -> None:
    """Set the scores of these pairs to -inf. `pairs` has one row per row of `scores`."""
    rows = np.repeat(np.arange(len(scores)), np.diff(pairs.indptr))
    scores[rows, pairs.indices] = -np.inf


def _candidates(scores: Scores, n: int) -> tuple[Columns, Columns, Scores]:
    """Return row, column and score of all candidates for the n highest scores of their row.

    The columns are dealt round-robin into groups. The nth highest group maximum is a lower bound of the nth highest
    score, so groups with a lower maximum are skipped. The cost is one pass over the scores, at memory speed.
    """
    rows, width = scores.shape
    groups = max(width // _DEPTH, min(width, 2 * n))
    depth, remainder = divmod(width, groups)
    peaks = scores[:, : depth * groups].reshape(rows, depth, groups).max(axis=1)
    if remainder:
        np.maximum(peaks[:, :remainder], scores[:, depth * groups :], out=peaks[:, :remainder])
    threshold = np.partition(peaks, groups - n, axis=1)[:, groups - n, None]
    highest = peaks.max()  # NaN if any score is NaN
    if not highest < np.inf:
        raise FloatingPointError("scores that are not finite numbers")
    row, group = np.nonzero((peaks >= threshold) & (peaks > -np.inf))
    column = group[:, None] + np.arange(0, width, groups)
    np.minimum(column, width - 1, out=column)
    value = scores.reshape(-1)[row[:, None] * width + column]
    if remainder:
        value[:, -1][group >= remainder] = -np.inf
    chosen, layer = np.nonzero((value >= threshold[row]) & (value > -np.inf))
    return row[chosen], column[chosen, layer], value[chosen, layer]
