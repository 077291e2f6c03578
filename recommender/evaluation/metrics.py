"""How good a ranking is, by what its users played and it had not seen.

Recall and NDCG have one value per user; who compares two models compares them user by user. NDCG as in
Järvelin and Kekäläinen 2002 with gain 1; novelty as the mean self-information of Zhou et al. 2010.
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
    """Of one ranking: `recall` and `ndcg` are 0 to 1 for each user, `coverage` is a share, `novelty` is in bits."""

    recall: Values
    ndcg: Values
    coverage: float
    novelty: float

    @property
    def mean_recall(self) -> float:
        """Over all users with held-out tracks."""
        return float(self.recall.mean())

    @property
    def mean_ndcg(self) -> float:
        """Over all users with held-out tracks."""
        return float(self.ndcg.mean())


def measure_ranking(ranking: Ranking, holdout: Holdout, train: Interactions, k: int) -> RankingMetrics:
    """All of them at k. `ranking` has one row per user of `holdout`, of whom there is at least one."""
    found = hits(ranking, holdout, k)
    return RankingMetrics(
        recall_at(found, holdout), ndcg_at(found, holdout, k), coverage(ranking, train, k), novelty(ranking, train, k)
    )


def hits(ranking: Ranking, holdout: Holdout, k: int) -> NDArray[np.bool_]:
    """Which of the first k places of each user name a held-out track."""
    ids, given = ranking.ids[:, :k], np.isfinite(ranking.scores[:, :k])
    known = np.unique(holdout.tracks)
    if not len(known):
        return np.zeros(ids.shape, bool)
    places = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    rows = np.arange(len(holdout))
    pairs = rows[:, None] * len(known) + places
    wanted = np.repeat(rows, holdout.sizes) * len(known) + np.searchsorted(known, holdout.tracks)
    return np.asarray(given & (known[places] == ids) & np.isin(pairs, wanted), bool)


def recall_at(found: NDArray[np.bool_], holdout: Holdout) -> Values:
    """Hits by held-out tracks, of each user."""
    return np.asarray(found.sum(axis=1) / holdout.sizes, np.float64)


def ndcg_at(found: NDArray[np.bool_], holdout: Holdout, k: int) -> Values:
    """Gain 1 for a hit, discounted by log2(rank + 1), by the best that min(k, held-out tracks) hits could give."""
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discounts)[np.minimum(holdout.sizes, k) - 1]
    return np.asarray(found @ discounts[: found.shape[1]] / ideal, np.float64)


def coverage(ranking: Ranking, train: Interactions, k: int) -> float:
    """The share of train's tracks that stand in anybody's first k."""
    if not len(train.track_ids):
        return 0.0
    return len(np.unique(_named(ranking, k))) / len(train.track_ids)


def novelty(ranking: Ranking, train: Interactions, k: int) -> float:
    """The mean of -log2(share of train's users who played it) over all places filled, in bits.

    What nobody played counts as played by one. Without any place filled it is 0.
    """
    named = _named(ranking, k)
    users = np.bincount(train.plays.indices, minlength=len(train.track_ids))
    if not len(named):
        return 0.0
    share = np.maximum(users[train.columns_of(named)], 1) / max(len(train.users_with_plays), 1)
    return float(np.mean(-np.log2(share))) + 0.0  # never -0.0


def _named(ranking: Ranking, k: int) -> NDArray[np.int64]:
    ids: NDArray[np.int64] = ranking.ids[:, :k][np.isfinite(ranking.scores[:, :k])]
    return ids
