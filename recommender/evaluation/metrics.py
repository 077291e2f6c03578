"""Ranking metrics on held-out plays.

Recall and NDCG have one value per user, so that two models can be compared user by user. NDCG follows Järvelin and
Kekäläinen 2002 with gain 1; novelty is the mean self-information of Zhou et al. 2010.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommender.data.interactions import Interactions
from recommender.evaluation.splitting import Holdout
from recommender.models.base import Ranking

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RankingMetrics:
    """Metrics of one ranking: `recall` and `ndcg` per user (0 to 1), `coverage` as a share, `novelty` in bits."""

    recall: Values
    ndcg: Values
    coverage: float
    novelty: float

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
        recall_at(is_hit, holdout), ndcg_at(is_hit, holdout, k), coverage(ranking, train, k), novelty(ranking, train, k)
    )


def hits(ranking: Ranking, holdout: Holdout, k: int) -> NDArray[np.bool_]:
    """Whether each of the first k ranks of each user is a held-out track."""
    ids, filled = ranking.ids[:, :k], np.isfinite(ranking.scores[:, :k])
    held_out = np.unique(holdout.tracks)
    if not len(held_out):
        return np.zeros(ids.shape, bool)
    positions = np.minimum(np.searchsorted(held_out, ids), len(held_out) - 1)
    rows = np.arange(len(holdout))
    ranked_pairs = rows[:, None] * len(held_out) + positions
    held_out_pairs = np.repeat(rows, holdout.sizes) * len(held_out) + np.searchsorted(held_out, holdout.tracks)
    return np.asarray(filled & (held_out[positions] == ids) & np.isin(ranked_pairs, held_out_pairs), bool)


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
    users = np.bincount(train.plays.indices, minlength=len(train.track_ids))
    if not len(recommended):
        return 0.0
    share = np.maximum(users[train.track_columns(recommended)], 1) / max(len(train.users_with_plays), 1)
    return float(np.mean(-np.log2(share))) + 0.0  # never -0.0


def _recommended(ranking: Ranking, k: int) -> NDArray[np.int64]:
    ids: NDArray[np.int64] = ranking.ids[:, :k][np.isfinite(ranking.scores[:, :k])]
    return ids
