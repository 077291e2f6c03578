"""The best n of many scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BYTES_A_BLOCK = 64 * 2**20


def rows_a_block(columns: int) -> int:
    """How many listeners are scored at once, for one block of scores to stay within 64 MiB."""
    return max(1, _BYTES_A_BLOCK // (4 * max(columns, 1)))


def best(scores: NDArray[np.float32], n: int) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Columns and scores of the n highest of each row, best first; equal scores in column order."""
    n = min(n, scores.shape[1])
    top = (
        np.argpartition(-scores, n - 1, axis=1)[:, :n]
        if n < scores.shape[1]
        else np.tile(np.arange(n), (len(scores), 1))
    )
    top.sort(axis=1)
    values = np.take_along_axis(scores, top, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(top, order, axis=1), np.take_along_axis(values, order, axis=1)
