"""The data of every day. From one day to the next, rows are added, changed and removed."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mock_server.catalogue import Tracks, draw_hits, draw_tracks
from mock_server.day_state import DayState, SimulationPlan, base_state, midnight
from mock_server.randomness import Integers, Period, instants, rounded
from mock_server.sessions import Sessions, draw_plays, draw_sessions
from mock_server.tables import appended, changed, filtered
from mock_server.users import Users, draw_tastes, draw_users

UNPOPULAR = 2.0
"""Only tracks below this popularity are removed, because a catalogue drops tracks that hardly anyone plays."""

HITS = 0.1
"""Number of new tracks in a catalogue shift, as a share of the tracks on the base day."""

NOON = 12 * 3_600_000_000
"""Start of an outage, in microseconds after midnight."""

Versioned = TypeVar("Versioned", Tracks, Users)

LONGEST_FUTURE = 3660
"""Number of days after the base day that can be requested."""


class DayOutOfRange(ValueError):
    """The day is before the history or too far in the future."""


class Timeline:
    """The data of all days. The data of a day depends only on plan and day, not on earlier requests."""

    def __init__(self, plan: SimulationPlan, base: DayState | None = None) -> None:
        self.base = base or base_state(plan)
        self._latest = self.base

    def with_plan(self, plan: SimulationPlan) -> Timeline:
        """The timeline of a plan with other scenarios. Scenarios do not change the base day, so it is reused."""
        return Timeline(plan, replace(self.base, plan=plan))

    def state_on(self, day: dt.date) -> DayState:
        """The data at the start of `day`, as the API returns it. Raises DayOutOfRange."""
        plan = self.base.plan
        last = last_day(plan)
        if not plan.start < day <= last:
            raise DayOutOfRange(f"{day} is out of range: it must be after {plan.start} and at most {last}")
        state = self._complete_state(day)
        return without_afternoon(state) if day - dt.timedelta(days=1) == plan.outage_day else state

    def _complete_state(self, day: dt.date) -> DayState:
        if day < self.base.day:
            return earlier_state(self.base, day)
        if day < self._latest.day:
            self._latest = self.base
        while self._latest.day < day:
            self._latest = next_state(self._latest)
        return self._latest


def last_day(plan: SimulationPlan) -> dt.date:
    """The last day that can be requested."""
    return plan.base_day + dt.timedelta(days=LONGEST_FUTURE)


def without_afternoon(state: DayState) -> DayState:
    """The data without the sessions of the previous day that were created from noon on."""
    noon = midnight(state.day - dt.timedelta(days=1)) + NOON
    return replace(state, sessions=filtered(state.sessions, state.sessions.created < noon))


def next_state(state: DayState) -> DayState:
    """The data one day later."""
    day = state.day + dt.timedelta(days=1)
    rng = np.random.default_rng([state.plan.seed, day.toordinal()])
    period = Period(state.plan.seed, rng, midnight(state.day), midnight(day))
    grown = _grow(_shift_catalogue(_shift_tastes(state, rng), period), period)
    return replace(_remove(_change(_listen(grown, period), period), rng), day=day)


def _shift_tastes(state: DayState, rng: np.random.Generator) -> DayState:
    plan = state.plan
    if plan.taste_shift_day != state.day:
        return state
    chosen = np.flatnonzero(rng.random(len(state.users)) < plan.taste_shift)
    _, tastes = draw_tastes(len(chosen), state.pools, rng)
    return replace(state, users=changed(state.users, chosen, tastes=tastes))


def _shift_catalogue(state: DayState, period: Period) -> DayState:
    plan = state.plan
    if plan.catalogue_shift_day != state.day:
        return state
    hits = draw_hits(state.tracks, max(1, round(HITS * plan.tracks)), plan.catalogue_shift, period)
    return replace(state, tracks=appended(state.tracks, hits))


def _grow(state: DayState, period: Period) -> DayState:
    plan = state.plan
    track_count = rounded(period.rng, plan.growth * plan.tracks)
    tracks = appended(state.tracks, draw_tracks(len(state.tracks), track_count, period))
    user_count = rounded(period.rng, plan.growth * plan.users)
    users = draw_users(len(state.users), user_count, period, state.pools)
    return replace(state, tracks=tracks, users=appended(state.users, users))


def _listen(state: DayState, period: Period) -> DayState:
    count = rounded(period.rng, state.plan.new_sessions * state.plan.sessions)
    sessions = draw_sessions(count, state.listening_model, period)
    return replace(state, sessions=appended(state.sessions, sessions))


def _change(state: DayState, period: Period) -> DayState:
    """Give a share of the rows new content. A session of this day is changed after its creation."""
    share, rng = state.plan.updates, period.rng
    tracks = _sample(state.listed_tracks, share, rng)
    users = _sample(state.listed_users, share, rng)
    rows = _sample(np.arange(len(state.sessions)), share, rng)
    plays = draw_plays(state.sessions.user[rows], state.listening_model, rng)
    moments = instants(rng, np.maximum(state.sessions.created[rows], period.start), period.end, len(rows))
    return replace(
        state,
        tracks=_next_versions(state.tracks, tracks, period),
        users=_next_versions(state.users, users, period),
        sessions=changed(state.sessions, rows, plays=plays, updated=moments),
    )


def _next_versions(table: Versioned, rows: Integers, period: Period) -> Versioned:
    moments = instants(period.rng, period.start, period.end, len(rows))
    return changed(table, rows, version=table.version[rows] + 1, updated=moments)


def _remove(state: DayState, rng: np.random.Generator) -> DayState:
    """Remove a few unpopular tracks, a few users, the sessions of both, and a few other sessions."""
    share = state.plan.removals
    tracks, users = state.tracks, state.users
    unpopular = state.listed_tracks[tracks.popularity[state.listed_tracks] < UNPOPULAR]
    track_listed = _without(tracks.listed, unpopular, share * len(state.listed_tracks), rng)
    user_listed = _without(users.listed, state.listed_users, share * len(state.listed_users), rng)
    sessions = filtered(state.sessions, rng.random(len(state.sessions)) >= share)
    return replace(
        state,
        tracks=replace(tracks, listed=track_listed),
        users=replace(users, listed=user_listed),
        sessions=without_orphans(sessions, track_listed, user_listed),
    )


def _without(
    listed: NDArray[np.bool_], candidates: Integers, expected: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    remaining = listed.copy()
    remaining[rng.permutation(candidates)[: rounded(rng, expected)]] = False
    return remaining


def _sample(rows: Integers, share: float, rng: np.random.Generator) -> Integers:
    """A random sample of about this share of the rows, without repeats, in order."""
    return np.asarray(rows[rng.random(len(rows)) < share])


def without_orphans(sessions: Sessions, tracks: NDArray[np.bool_], users: NDArray[np.bool_]) -> Sessions:
    """The sessions whose user and tracks are all listed."""
    track_is_listed = np.append(tracks, True)  # index -1 is NO_TRACK
    return filtered(sessions, users[sessions.user] & track_is_listed[sessions.plays].all(axis=1))


def earlier_state(base: DayState, day: dt.date) -> DayState:
    """The data of a day before the base day: the base data without later rows.

    A row that was changed later has its creation time as its last change. A session appears when its user and all its
    tracks exist, so that there are no orphans.
    """
    now = midnight(day)
    tracks = _as_of(base.tracks, now)
    users = _as_of(base.users, now)
    sessions = filtered(base.sessions, base.sessions.created < now)
    sessions = replace(sessions, updated=_updates_by(sessions.created, sessions.updated, now))
    sessions = without_orphans(sessions, tracks.listed, users.listed)
    return DayState(base.plan, day, tracks, users, sessions)


def _as_of(table: Versioned, now: int) -> Versioned:
    return replace(table, listed=table.created < now, updated=_updates_by(table.created, table.updated, now))


def _updates_by(created: Integers, updated: Integers, now: int) -> Integers:
    return np.where(updated < now, updated, created)
