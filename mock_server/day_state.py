"""The data of the API on one day, as columns, and the data of the base day."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mock_server.catalogue import TrackPools, Tracks, draw_tracks, scenes_for
from mock_server.randomness import Integers, Period
from mock_server.sessions import ListeningModel, Sessions, draw_sessions
from mock_server.users import Users, draw_users

ENDPOINTS = ("tracks", "users", "listen_history")


@dataclass(frozen=True)
class SimulationPlan:
    """What determines all data, on every day: the same plan and day give the same pages, byte for byte.

    `users`, `tracks` and `sessions` are the numbers of rows on `base_day`; the shares are per day. The last five
    are scenarios (see scenarios.py); without them nothing out of the ordinary happens. In the activity of
    `taste_shift_day` the share `taste_shift` of the users gets new tastes; in that of `catalogue_shift_day` new tracks
    appear that take the share `catalogue_shift` of all popularity. Neither day may lie before the base day. Half of
    what was played on `outage_day` is listed a day late.
    """

    seed: int
    start: dt.date
    base_day: dt.date
    users: int = 1000
    tracks: int = 1000
    sessions: int = 1000
    plays_per_session: int = 5
    growth: float = 0.002
    new_sessions: float = 0.01
    updates: float = 0.005
    removals: float = 0.0005
    taste_shift_day: dt.date | None = None
    taste_shift: float = 0.0
    catalogue_shift_day: dt.date | None = None
    catalogue_shift: float = 0.0
    outage_day: dt.date | None = None


@dataclass(frozen=True)
class DayState:
    """The state at the first minute of `day`: every time in it lies before that midnight."""

    plan: SimulationPlan
    day: dt.date
    tracks: Tracks
    users: Users
    sessions: Sessions

    @cached_property
    def pools(self) -> TrackPools:
        """The tracks as listeners find them."""
        return TrackPools(self.tracks, scenes_for(self.plan.tracks))

    @cached_property
    def listening_model(self) -> ListeningModel:
        """All that is needed to draw sessions."""
        return ListeningModel(self.users, self.pools, self.plan.plays_per_session)

    @cached_property
    def listed_tracks(self) -> Integers:
        """Rows of the tracks that the API lists, in its order."""
        return np.flatnonzero(self.tracks.listed)

    @cached_property
    def listed_users(self) -> Integers:
        """Rows of the users that the API lists, in its order."""
        return np.flatnonzero(self.users.listed)

    def total(self, endpoint: str) -> int:
        """How many rows an endpoint lists."""
        if endpoint == "tracks":
            return len(self.listed_tracks)
        if endpoint == "users":
            return len(self.listed_users)
        return len(self.sessions)


def midnight(day: dt.date) -> int:
    """The first moment of a day, in microseconds since 1970."""
    return (day - dt.date(1970, 1, 1)).days * 86_400_000_000


def base_state(plan: SimulationPlan) -> DayState:
    """The world on the plan's base day, with exactly the planned numbers of rows."""
    rng = np.random.default_rng([plan.seed, 0])
    period = Period(plan.seed, rng, midnight(plan.start), midnight(plan.base_day))
    tracks = draw_tracks(0, plan.tracks, period)
    pools = TrackPools(tracks, scenes_for(plan.tracks))
    users = draw_users(0, plan.users, period, pools)
    listening_model = ListeningModel(users, pools, plan.plays_per_session)
    return DayState(plan, plan.base_day, tracks, users, draw_sessions(plan.sessions, listening_model, period))
