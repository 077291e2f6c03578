"""Listening sessions: which user played which tracks, and when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mock_server.catalogue import TrackPools
from mock_server.randomness import Indices, Integers, Period, instants
from mock_server.users import SLOT_WEIGHTS, Users

CHUNK = 500_000
"""Sessions drawn at once; this bounds the memory of a draw."""

NO_TRACK = -1
REDRAWS = 6
"""How often a repeated track of a session is drawn again before the session is shortened."""


@dataclass(frozen=True)
class Sessions:
    """One entry per listed session. Users and plays are row numbers; times are microseconds since 1970.

    `plays` has the shape (sessions, plays per session). NO_TRACK fills sessions with too few different tracks.
    """

    user: Indices
    plays: Indices
    created: Integers
    updated: Integers

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True)
class ListeningModel:
    """The inputs of drawing sessions."""

    users: Users
    pools: TrackPools
    plays_per_session: int


def draw_sessions(count: int, listening_model: ListeningModel, period: Period) -> Sessions:
    """`count` new sessions, created and updated within the period. Users are drawn by their activity."""
    rng = period.rng
    created = instants(rng, period.start, period.end, count)
    users = draw_users(count, listening_model.users, rng)
    return Sessions(
        user=users,
        plays=draw_plays(users, listening_model, rng),
        created=created,
        updated=instants(rng, created, period.end, count),
    )


def draw_users(count: int, users: Users, rng: np.random.Generator) -> Indices:
    """The rows of `count` listed users, drawn by their activity."""
    cumulative = np.cumsum(np.where(users.listed, users.activity, 0.0))
    drawn = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right")
    drawn_rows: Indices = np.minimum(drawn, len(users) - 1).astype(np.int32)
    return drawn_rows


def draw_plays(users: Indices, listening_model: ListeningModel, rng: np.random.Generator) -> Indices:
    """Different tracks for one session of each user; shape (users, plays per session)."""
    plays = np.empty((len(users), listening_model.plays_per_session), np.int32)
    for begin in range(0, len(users), CHUNK):
        plays[begin : begin + CHUNK] = _draw_chunk(users[begin : begin + CHUNK], listening_model, rng)
    return plays


def _draw_chunk(users: Indices, listening_model: ListeningModel, rng: np.random.Generator) -> Indices:
    tastes, pools = listening_model.users.tastes, listening_model.pools
    plays = pools.draw(_draw_pools(users[:, None], listening_model.plays_per_session, tastes, rng), rng)
    for attempt in range(REDRAWS):
        session, place = np.nonzero(_repeats(plays))
        if not len(session):
            return plays
        drawn = _draw_pools(users[session][:, None], 1, tastes, rng)[:, 0]
        plays[session, place] = pools.draw(drawn if attempt < REDRAWS // 2 else np.zeros_like(drawn), rng)
    plays[_repeats(plays)] = NO_TRACK
    return plays


def _draw_pools(users: Indices, plays: int, tastes: Indices, rng: np.random.Generator) -> Indices:
    """The pool of each play, drawn by the users' tastes. `users` is a column; the result has `plays` columns."""
    slots = np.searchsorted(np.cumsum(SLOT_WEIGHTS)[:-1], rng.random((len(users), plays)), side="right")
    any_track = slots == tastes.shape[1]
    return np.where(any_track, 0, tastes[users, np.where(any_track, 0, slots)])


def _repeats(plays: Indices) -> NDArray[np.bool_]:
    """Marks each play whose track occurs earlier in the same session."""
    repeated = np.zeros(plays.shape, np.bool_)
    for place in range(1, plays.shape[1]):
        repeated[:, place] = (plays[:, :place] == plays[:, place : place + 1]).any(axis=1)
    return repeated
