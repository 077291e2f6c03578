"""The best n of many scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

_BYTES_A_BLOCK = 16 * 2**20
_DEPTH = 16

Scores = NDArray[np.float32]
Columns = NDArray[np.intp]


def rows_per_block(columns: int) -> int:
    """How many users are scored at once, for one block of scores to stay within 16 MiB."""
    return max(1, _BYTES_A_BLOCK // (4 * max(columns, 1)))


def top_n(scores: Scores, n: int) -> tuple[Columns, Scores]:
    """Columns and scores of the n highest of each row, best first; equal scores in column order.

    A score of -inf is never among them: the column is -1 where there are fewer. Raises FloatingPointError when a score
    is NaN or +inf.
    """
    rows, width = scores.shape
    n = min(n, width)
    columns, values = np.full((rows, n), -1, np.intp), np.full((rows, n), -np.inf, np.float32)
    if not scores.size or not n:
        return columns, values
    line, column, value = _candidates(np.ascontiguousarray(scores), n)
    order = np.lexsort((column, -value, line))
    line, column, value = line[order], column[order], value[order]
    rank = np.arange(len(line)) - np.searchsorted(line, np.arange(rows))[line]
    kept = rank < n
    columns[line[kept], rank[kept]] = column[kept]
    values[line[kept], rank[kept]] = value[kept]
    return columns, values


def exclude_pairs(scores: Scores, pairs: csr_array) -> None:
    """Set the scores of these pairs, a row of columns for each row of scores, to -inf."""
    lines = np.repeat(np.arange(len(scores)), np.diff(pairs.indptr))
    scores[lines, pairs.indices] = -np.inf


def _candidates(scores: Scores, n: int) -> tuple[Columns, Columns, Scores]:
    """Row, column and score of all that may be among the n highest of their row: at least as high as the nth.

    The columns are dealt into groups as cards are, and n groups hold the n highest at least: those below the nth
    highest of the groups' maxima need not be looked at. Reading each score once for its group's maximum is what costs
    the time, and numpy does it at the speed of memory.
    """
    rows, width = scores.shape
    groups = max(width // _DEPTH, min(width, 2 * n))
    depth, rest = divmod(width, groups)
    peaks = scores[:, : depth * groups].reshape(rows, depth, groups).max(axis=1)
    if rest:
        np.maximum(peaks[:, :rest], scores[:, depth * groups :], out=peaks[:, :rest])
    bar = np.partition(peaks, groups - n, axis=1)[:, groups - n, None]
    highest = peaks.max()  # NaN if there is one
    if not highest < np.inf:
        raise FloatingPointError("scores that are not finite numbers")
    line, group = np.nonzero((peaks >= bar) & (peaks > -np.inf))
    column = group[:, None] + np.arange(0, width, groups)
    np.minimum(column, width - 1, out=column)
    value = scores.reshape(-1)[line[:, None] * width + column]
    if rest:
        value[:, -1][group >= rest] = -np.inf
    chosen, layer = np.nonzero((value >= bar[line]) & (value > -np.inf))
    return line[chosen], column[chosen, layer], value[chosen, layer]
