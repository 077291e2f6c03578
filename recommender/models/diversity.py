"""Spread recommendations over the catalogue: a track that was shown often gives way to the next candidates."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recommender.data.interactions import Ids, Interactions
from recommender.models.base import Ranking

CANDIDATES_PER_LIST = 100
_EXPOSURES_FOR_FULL_PENALTY = 100


@dataclass(frozen=True, eq=False)
class ExposureReranker:
    """Re-rank lists one after the other by score - `strength` x log(1 + exposures) / log 100.

    Scores are those of the candidates of a list, scaled from 0 for the last to 1 for the first, so that a strength has
    the same meaning for every model. `exposures` counts for each of `track_ids`, which ascend, how often earlier lists
    had it; each list adds `weight`, the number of users that it stands for. docs/models.md has the cost and the gain.
    """

    strength: float
    track_ids: Ids
    weight: float = 1.0
    exposures: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        if not len(self.exposures):
            object.__setattr__(self, "exposures", np.zeros(len(self.track_ids)))

    def rerank(self, ranking: Ranking, n: int, seed: int) -> Ranking:
        """Return the best n of each row, with the new scores, which do not increase. Users come in a seeded order."""
        rows, width = len(ranking.ids), min(n, ranking.ids.shape[1])
        ids, scores = np.full((rows, width), -1, np.int64), np.full((rows, width), -np.inf, np.float32)
        columns = np.searchsorted(self.track_ids, ranking.ids)
        lengths = np.isfinite(ranking.scores).sum(axis=1)
        for row in np.random.default_rng(seed).permutation(rows):
            length = lengths[row]
            if not length:
                continue
            candidates, values = columns[row, :length], ranking.scores[row, :length].astype(np.float64)
            span = values[0] - values[-1]
            values = (values - values[-1]) / span if span > 0 else np.zeros(length)
            values -= self.strength * np.log1p(self.exposures[candidates]) / np.log(_EXPOSURES_FOR_FULL_PENALTY)
            best = np.argsort(-values, kind="stable")[:n]
            self.exposures[candidates[best]] += self.weight
            ids[row, : len(best)] = ranking.ids[row, best]
            scores[row, : len(best)] = values[best]
        return Ranking(ids, scores)


def rerank_sample(ranking: Ranking, train: Interactions, n: int, strength: float, seed: int) -> Ranking:
    """Re-rank the lists of some users as if all users with plays in `train` had lists. Strength 0 changes nothing."""
    if not strength:
        return ranking
    weight = len(train.users_with_plays) / max(len(ranking.ids), 1)
    return ExposureReranker(strength, train.track_ids, weight).rerank(ranking, n, seed)


def candidates_for(n: int, strength: float) -> int:
    """The number of candidates for a list of n tracks: n itself without re-ranking."""
    return max(n, CANDIDATES_PER_LIST) if strength else n
