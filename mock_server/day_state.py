"""The data of the API on one day, stored as columns; and the data of the base day."""

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
    """The parameters of the simulated data. The same plan and day give the same pages, byte for byte.

    `users`, `tracks` and `sessions` are the numbers of rows on `base_day`. The shares apply per day. The last five
    fields are scenarios (see scenarios.py):

    - On `taste_shift_day` the share `taste_shift` of the users gets new tastes.
    - On `catalogue_shift_day` new tracks appear, which take the share `catalogue_shift` of all popularity.
    - The sessions of `outage_day` from 12:00 on are listed a day late.

    Neither shift may be before the base day.
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
    """The data at the start of `day` (00:00 UTC). Every time in it is earlier."""

    plan: SimulationPlan
    day: dt.date
    tracks: Tracks
    users: Users
    sessions: Sessions

    @cached_property
    def pools(self) -> TrackPools:
        """The pools that plays are drawn from."""
        return TrackPools(self.tracks, scenes_for(self.plan.tracks))

    @cached_property
    def listening_model(self) -> ListeningModel:
        """The inputs of drawing sessions."""
        return ListeningModel(self.users, self.pools, self.plan.plays_per_session)

    @cached_property
    def listed_tracks(self) -> Integers:
        """Rows of the listed tracks, in the order of the API."""
        return np.flatnonzero(self.tracks.listed)

    @cached_property
    def listed_users(self) -> Integers:
        """Rows of the listed users, in the order of the API."""
        return np.flatnonzero(self.users.listed)

    def total(self, endpoint: str) -> int:
        """The number of rows of an endpoint."""
        if endpoint == "tracks":
            return len(self.listed_tracks)
        if endpoint == "users":
            return len(self.listed_users)
        return len(self.sessions)


def midnight(day: dt.date) -> int:
    """The start of a day in UTC, in microseconds since 1970."""
    return (day - dt.date(1970, 1, 1)).days * 86_400_000_000


def base_state(plan: SimulationPlan) -> DayState:
    """The data of the base day, with exactly the planned numbers of rows."""
    rng = np.random.default_rng([plan.seed, 0])
    period = Period(plan.seed, rng, midnight(plan.start), midnight(plan.base_day))
    tracks = draw_tracks(0, plan.tracks, period)
    pools = TrackPools(tracks, scenes_for(plan.tracks))
    users = draw_users(0, plan.users, period, pools)
    listening_model = ListeningModel(users, pools, plan.plays_per_session)
    return DayState(plan, plan.base_day, tracks, users, draw_sessions(plan.sessions, listening_model, period))
