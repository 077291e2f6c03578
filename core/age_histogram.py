"""Histograms of the age of streamed messages, as `stream.minutes` stores them."""

from __future__ import annotations

import math
from collections.abc import Sequence

# Upper bounds of all buckets but the last, in seconds.
AGE_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 60.0)


def age_quantile(counts: Sequence[int], quantile: float) -> float | None:
    """Return the `quantile` of the ages in seconds, interpolated linearly within a bucket.

    `counts` has one number for each bucket. Returns None without messages, and infinity if the quantile is above the
    last bound.
    """
    total = sum(counts)
    if not total:
        return None
    rank, lower_count = quantile * total, 0
    for count, lower, upper in zip(counts, (0.0, *AGE_BOUNDS), (*AGE_BOUNDS, math.inf), strict=True):
        if count and lower_count + count >= rank:
            return upper if math.isinf(upper) else lower + (upper - lower) * max(0.0, rank - lower_count) / count
        lower_count += count
    return math.inf
