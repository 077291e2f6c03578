"""Ten listeners in two groups of five, whose next tracks are known.

Each group has six tracks of its own, and each listener has played four of those: what comes next for them are the
other two.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.data.interactions import Interactions
from recommender.models.base import Ranking

GROUP, PLAYED = 6, 4
# Ids as odd as they may be, in an order of their own; listeners' ids are long enough to be found in a file.
USER_IDS = np.array([-(2**62), -7_000_000_000_000_001, *range(8_000_000_000_001, 8_000_000_000_008), 2**63 - 1])
TRACK_IDS = np.array([-(2**63), -5, 0, 3, 4, 10**12, 10**12 + 7, 10**15, 2**40, 2**52, 2**62, 2**63 - 1])
TRACK_IDS.sort()
FIRST_GROUP = TRACK_IDS[::2]
GENRES = np.array(["Jazz", "Metal"])


def group_of(listener: int) -> NDArray[np.int64]:
    """The six tracks that a listener, by position, chooses from."""
    return FIRST_GROUP if listener % 2 == 0 else TRACK_IDS[1::2]


def played_by(listener: int) -> NDArray[np.int64]:
    """Four of the six: which, depends on the place within the group."""
    return np.sort(np.roll(group_of(listener), listener // 2)[:PLAYED])


def two_groups(times: int = 1) -> Interactions:
    """Everybody's plays; each track was played `times` times by who played it, or more."""
    users = np.repeat(USER_IDS, PLAYED)
    tracks = np.concatenate([played_by(listener) for listener in range(len(USER_IDS))])
    plays = times * (1 + np.arange(len(users)) % 3)
    return Interactions.from_pairs(
        users, tracks, plays, known_users=USER_IDS, genres=GENRES[np.arange(len(USER_IDS)) % 2]
    )


def same_ranking(one: Ranking, other: Ranking) -> bool:
    """Whether two answers agree in every bit."""
    return bool((one.ids == other.ids).all() and one.scores.tobytes() == other.scores.tobytes())


def dense(plays: Interactions) -> NDArray[np.float64]:
    """The matrix of plays, for formulas written out."""
    matrix: csr_array = plays.plays
    return np.asarray(matrix.toarray(), np.float64)
