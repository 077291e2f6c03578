"""Synthetic plays: power laws for the activity of users and the popularity of tracks, and tastes with a home region."""

from __future__ import annotations

import numpy as np

from recommender.data.interactions import Interactions

_FEWEST, _MOST, _ACTIVITY = 10, 600, 0.6  # tracks of a user, and the exponent of their power law
_AT_HOME, _REGIONS = 0.8, 120
_TRAINING_SHARE = 0.8


def make_plays(users: int, tracks: int, interactions: int, *, seed: int = 0) -> Interactions:
    """Plays of four in five of so many pairs of user and track. The same arguments give the same plays."""
    rng = np.random.default_rng(seed)
    activity = np.minimum((1 - rng.random(users)) ** -_ACTIVITY, _MOST / _FEWEST)
    plays = 3 * interactions * activity / activity.sum() + _FEWEST  # many plays are of the same pair
    user = np.repeat(np.arange(users), plays.astype(np.int64))
    home = rng.integers(0, _REGIONS, users) * tracks // _REGIONS
    popular, local = (np.int64(tracks * rng.random(len(user)) ** exponent) for exponent in (2, 5))
    track = np.where(rng.random(len(user)) < _AT_HOME, (home[user] + local) % tracks, popular)
    pairs, counts = np.unique(user * tracks + track, return_counts=True)
    chosen = rng.permutation(len(pairs))[: int(_TRAINING_SHARE * min(interactions, len(pairs)))]
    user, track = np.divmod(pairs[chosen], tracks)
    # A user plays a favourite far more often than chance would: log-normal on top.
    counts = np.ceil(counts[chosen] * rng.lognormal(1.0, 1.5, len(chosen)))
    return Interactions.from_pairs(user, track, counts, catalogue=np.arange(tracks))
