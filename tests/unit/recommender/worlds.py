"""Small random interactions of users with tastes."""

from __future__ import annotations

import numpy as np

from recommender.data.interactions import Interactions


def tasteful(users: int = 120, tracks: int = 60, groups: int = 4, seed: int = 0) -> Interactions:
    """Each user plays about half of the tracks of one group, and a few other tracks."""
    random = np.random.default_rng(seed)
    groups_of_tracks = np.arange(tracks) % groups
    chances = np.where(groups_of_tracks == (np.arange(users) % groups)[:, None], 0.5, 0.03)
    rows, columns = np.nonzero(random.random((users, tracks)) < chances)
    return Interactions.from_pairs(rows, columns, random.geometric(0.3, len(rows)))
