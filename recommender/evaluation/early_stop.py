"""Stop a trial that can no longer win: score more and more users, and compare with the best trial so far.

Successive halving (Jamieson and Talwalkar 2016) over users, with a paired test at each step.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from recommender.data.interactions import Ids
from recommender.evaluation.metrics import Values, hits, ndcg_at
from recommender.evaluation.splitting import Holdout
from recommender.models.base import Ranking

_SHARES = (1 / 8, 1 / 4, 1 / 2)
_MIN_USERS = 100
# With 2.0, one of eight simulated searches chose other settings (benchmarks/early_stopping.py).
_STANDARD_ERRORS = 3.0


@dataclass(frozen=True, eq=False)
class StopRule:
    """When to stop a trial. `ndcg` has the NDCG at `k` of the best trial so far, of each user of `holdout`.

    `order` has the positions in `holdout` of the users who choose the model, in random order.
    """

    holdout: Holdout
    order: NDArray[np.intp]
    ndcg: Values
    k: int

    def parts(self) -> list[NDArray[np.intp]]:
        """The positions of the users to score, step by step; together all of them."""
        ends = [round(share * len(self.order)) for share in _SHARES]
        steps = np.split(self.order, [end for end in ends if end >= _MIN_USERS])
        rest = np.setdiff1d(np.arange(len(self.holdout)), self.order)
        return [np.sort(step) for step in [*steps[:-1], np.concatenate([steps[-1], rest])]]

    def reason_to_stop(self, positions: NDArray[np.intp], ranking: Ranking) -> str:
        """Why a trial with this ranking of the users at ascending `positions` cannot win; '' if it still may."""
        holdout = self.holdout.at_positions(positions)
        differences = ndcg_at(hits(ranking, holdout, self.k), holdout, self.k) - self.ndcg[positions]
        error = differences.std(ddof=1) / np.sqrt(len(differences))
        if differences.mean() + _STANDARD_ERRORS * error >= 0:
            return ""
        return f"stopped after {len(positions):,} users: ndcg {-differences.mean():.4f} below the best so far"

    def save(self, path: Path) -> None:
        """Write the rule to a file for a trial process."""
        np.savez(
            path,
            users=self.holdout.users,
            indptr=self.holdout.indptr,
            tracks=self.holdout.tracks,
            order=self.order,
            ndcg=self.ndcg,
            k=self.k,
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file of `save`."""
        with np.load(path, allow_pickle=False) as file:
            users: Ids = file["users"]
            holdout = Holdout(users, file["indptr"], file["tracks"])
            return cls(holdout, file["order"], file["ndcg"], int(file["k"]))
