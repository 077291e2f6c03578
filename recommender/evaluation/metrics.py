"""Ranking metrics on held-out plays.

Recall and NDCG have one value per user, so that two models can be compared user by user. NDCG follows Järvelin and
Kekäläinen 2002 with gain 1; novelty is the mean self-information of Zhou et al. 2010.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.data.interactions import Ids, Interactions
from recommender.evaluation.splitting import Holdout
from recommender.models.base import Ranking

Values = NDArray[np.float64]
_LISTS_MEASURED, _LISTS_AT_ONCE = 1_000, 100


@dataclass(frozen=True, eq=False)
class RankingMetrics:
    """Metrics of one ranking: `recall` and `ndcg` per user (0 to 1), `coverage` as a share, `novelty` in bits.

    `intra_list_diversity` is from 0 (tracks of the same users) to 1; `popularity_bias` is 1 for no bias.
    """

    recall: Values
    ndcg: Values
    coverage: float
    novelty: float
    intra_list_diversity: float = 0.0
    popularity_bias: float = 1.0

    @property
    def mean_recall(self) -> float:
        """The mean over all users with held-out tracks."""
        return float(self.recall.mean())

    @property
    def mean_ndcg(self) -> float:
        """The mean over all users with held-out tracks."""
        return float(self.ndcg.mean())


def measure_ranking(ranking: Ranking, holdout: Holdout, train: Interactions, k: int) -> RankingMetrics:
    """Compute all metrics at k. `ranking` has one row per user of `holdout`, which is not empty."""
    is_hit = hits(ranking, holdout, k)
    return RankingMetrics(
        recall_at(is_hit, holdout),
        ndcg_at(is_hit, holdout, k),
        coverage(ranking, train, k),
        novelty(ranking, train, k),
        intra_list_diversity(ranking, train, k),
        popularity_bias(ranking, holdout.users, train, k),
    )


def hits(ranking: Ranking, holdout: Holdout, k: int) -> NDArray[np.bool_]:
    """Whether each of the first k ranks of each user is a held-out track."""
    ids, filled = ranking.ids[:, :k], np.isfinite(ranking.scores[:, :k])
    holdout_tracks = np.unique(holdout.tracks)
    if not len(holdout_tracks):
        return np.zeros(ids.shape, bool)
    positions = np.minimum(np.searchsorted(holdout_tracks, ids), len(holdout_tracks) - 1)
    rows = np.arange(len(holdout))
    ranked_pairs = rows[:, None] * len(holdout_tracks) + positions
    holdout_pairs = np.repeat(rows, holdout.sizes) * len(holdout_tracks) + np.searchsorted(
        holdout_tracks, holdout.tracks
    )
    return np.asarray(filled & (holdout_tracks[positions] == ids) & np.isin(ranked_pairs, holdout_pairs), bool)


def recall_at(is_hit: NDArray[np.bool_], holdout: Holdout) -> Values:
    """Hits divided by held-out tracks, per user."""
    return np.asarray(is_hit.sum(axis=1) / holdout.sizes, np.float64)


def ndcg_at(is_hit: NDArray[np.bool_], holdout: Holdout, k: int) -> Values:
    """NDCG per user: gain 1, discount log2(rank + 1), ideal of min(k, held-out tracks) hits."""
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discounts)[np.minimum(holdout.sizes, k) - 1]
    return np.asarray(is_hit @ discounts[: is_hit.shape[1]] / ideal, np.float64)


def coverage(ranking: Ranking, train: Interactions, k: int) -> float:
    """The share of train's tracks among the first k of any user."""
    if not len(train.track_ids):
        return 0.0
    return len(np.unique(_recommended(ranking, k))) / len(train.track_ids)


def novelty(ranking: Ranking, train: Interactions, k: int) -> float:
    """The mean of -log2(share of train's users who played the track) over all recommended tracks, in bits.

    A track without plays counts as played by one user. Without any recommendation the result is 0.
    """
    recommended = _recommended(ranking, k)
    if not len(recommended):
        return 0.0
    share = np.maximum(train.users_per_track[train.track_columns(recommended)], 1) / max(len(train.users_with_plays), 1)
    return float(np.mean(-np.log2(share))) + 0.0  # never -0.0


def intra_list_diversity(ranking: Ranking, train: Interactions, k: int) -> float:
    """The mean over lists of 1 - mean cosine of the users of two tracks (Ziegler et al. 2005).

    At most 1,000 lists, evenly spread, are measured. A track without plays is like no other track. Without a list of
    two tracks the result is 0.
    """
    chosen = np.unique(np.linspace(0, max(len(ranking.ids) - 1, 0), _LISTS_MEASURED).astype(np.intp))[
        : len(ranking.ids)
    ]
    filled = np.isfinite(ranking.scores[chosen, :k])
    sizes = filled.sum(axis=1)
    rows = np.nonzero(filled)[0]
    columns = train.track_columns(ranking.ids[chosen, :k][filled])
    lists = csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=(len(chosen), len(train.track_ids)))
    users = np.bincount(train.plays.indices, minlength=len(train.track_ids))
    lengths = np.sqrt(np.maximum(users, 1)).astype(np.float32)
    played = csr_array((1 / lengths[train.plays.indices], train.plays.indices, train.plays.indptr), train.plays.shape)
    by_track = played.T.tocsr()
    # The squared length of the sum of unit vectors is the number of tracks plus twice the sum of all cosines.
    squares = np.concatenate(
        [
            ((lists[begin : begin + _LISTS_AT_ONCE] @ by_track).power(2)).sum(axis=1)
            for begin in range(0, len(sizes), _LISTS_AT_ONCE)
        ]
        or [np.empty(0)]
    )
    with_plays = np.bincount(rows, users[columns] > 0, minlength=len(sizes))
    several = sizes > 1
    cosines = (squares - with_plays)[several] / (sizes * (sizes - 1))[several]
    return float(np.mean(1 - cosines)) if several.any() else 0.0


def popularity_bias(ranking: Ranking, users: Ids, train: Interactions, k: int) -> float:
    """The mean number of users of recommended tracks, divided by that of the tracks which these users played.

    Above 1, recommendations are more popular than what users play (Abdollahpouri et al. 2019). Without any
    recommendation the result is 1.
    """
    recommended = _recommended(ranking, k)
    counts = np.bincount(train.plays.indices, minlength=len(train.track_ids))
    played = train.select_users(users).plays.indices
    if not len(recommended) or not len(played):
        return 1.0
    return float(counts[train.track_columns(recommended)].mean() / counts[played].mean())


def _recommended(ranking: Ranking, k: int) -> NDArray[np.int64]:
    ids: NDArray[np.int64] = ranking.ids[:, :k][np.isfinite(ranking.scores[:, :k])]
    return ids
