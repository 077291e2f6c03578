"""Plays of ten users in two groups of five, for which the best recommendations are known.

Each group has six tracks. Each user has played four of them, so the other two are the best recommendations.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.data.interactions import Interactions
from recommender.models.base import Ranking

TRACKS_PER_USER = 4
# Extreme ids. User ids are long, so that a test can search for them in a file.
USER_IDS = np.array([-(2**62), -7_000_000_000_000_001, *range(8_000_000_000_001, 8_000_000_000_008), 2**63 - 1])
TRACK_IDS = np.array([-(2**63), -5, 0, 3, 4, 10**12, 10**12 + 7, 10**15, 2**40, 2**52, 2**62, 2**63 - 1])
TRACK_IDS.sort()
FIRST_GROUP = TRACK_IDS[::2]
GENRES = np.array(["Jazz", "Metal"])


def group_of(row: int) -> NDArray[np.int64]:
    """The six tracks of the group of the user in this row of USER_IDS."""
    return FIRST_GROUP if row % 2 == 0 else TRACK_IDS[1::2]


def played_by(row: int) -> NDArray[np.int64]:
    """The four tracks that the user in this row played."""
    return np.sort(np.roll(group_of(row), row // 2)[:TRACKS_PER_USER])


def two_groups(factor: int = 1) -> Interactions:
    """The plays of all users. Play counts are 1, 2 and 3, multiplied by `factor`."""
    users = np.repeat(USER_IDS, TRACKS_PER_USER)
    tracks = np.concatenate([played_by(row) for row in range(len(USER_IDS))])
    plays = factor * (1 + np.arange(len(users)) % 3)
    return Interactions.from_pairs(
        users, tracks, plays, known_users=USER_IDS, genres=GENRES[np.arange(len(USER_IDS)) % 2]
    )


def same_ranking(first: Ranking, second: Ranking) -> bool:
    """Whether two rankings are identical in every bit."""
    return bool((first.ids == second.ids).all() and first.scores.tobytes() == second.scores.tobytes())


def dense(plays: Interactions) -> NDArray[np.float64]:
    """The play counts as a dense matrix."""
    matrix: csr_array = plays.plays
    return np.asarray(matrix.toarray(), np.float64)
