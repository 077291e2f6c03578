"""Days that pass: new rows at the end, rows that change, rows that vanish."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mock_server.catalogue import Tracks, draw_hits, draw_tracks
from mock_server.listeners import Listeners, draw_listeners, draw_tastes
from mock_server.randomness import Integers, Period, instants, rounded
from mock_server.sessions import Sessions, draw_plays, draw_sessions
from mock_server.tables import appended, changed, kept
from mock_server.world import Plan, World, base_world, midnight

UNPOPULAR = 2.0
"""Only tracks of a lower popularity are ever removed: a catalogue drops what hardly anyone plays."""

HITS = 0.1
"""Tracks that appear when the catalogue shifts, as a share of the tracks on the base day."""

NOON = 12 * 3_600_000_000
"""Microseconds from midnight to the moment an outage begins."""

Versioned = TypeVar("Versioned", Tracks, Listeners)

LONGEST_FUTURE = 3660
"""Days after the base day that may be asked for."""


class ImpossibleDay(ValueError):
    """The day lies before the history or too far in the future."""


class Timeline:
    """The worlds of all days. A world is a pure function of plan and day, however one got there."""

    def __init__(self, plan: Plan, base: World | None = None) -> None:
        self.base = base or base_world(plan)
        self._latest = self.base

    def under(self, plan: Plan) -> Timeline:
        """The timeline of a plan of other scenarios only. The base world knows of none and is not drawn again."""
        return Timeline(plan, replace(self.base, plan=plan))

    def on(self, day: dt.date) -> World:
        """The world at the first minute of `day`, as the API shows it."""
        plan = self.base.plan
        last = last_day(plan)
        if not plan.start < day <= last:
            raise ImpossibleDay(f"{day} is not a day after {plan.start} and up to {last}")
        world = self._whole(day)
        return without_afternoon(world) if day - dt.timedelta(days=1) == plan.outage_day else world

    def _whole(self, day: dt.date) -> World:
        if day < self.base.day:
            return earlier_world(self.base, day)
        if day < self._latest.day:
            self._latest = self.base
        while self._latest.day < day:
            self._latest = next_world(self._latest)
        return self._latest


def last_day(plan: Plan) -> dt.date:
    """The last day that may be asked for."""
    return plan.base_day + dt.timedelta(days=LONGEST_FUTURE)


def without_afternoon(world: World) -> World:
    """The same world, but for the sessions created from noon on of the day before."""
    noon = midnight(world.day - dt.timedelta(days=1)) + NOON
    return replace(world, sessions=kept(world.sessions, world.sessions.created < noon))


def next_world(world: World) -> World:
    """The world one day later, after the activity of the day between."""
    day = world.day + dt.timedelta(days=1)
    rng = np.random.default_rng([world.plan.seed, day.toordinal()])
    period = Period(world.plan.seed, rng, midnight(world.day), midnight(day))
    grown = _grow(_shift_catalogue(_shift_tastes(world, rng), period), period)
    return replace(_remove(_change(_listen(grown, period), period), rng), day=day)


def _shift_tastes(world: World, rng: np.random.Generator) -> World:
    plan = world.plan
    if plan.taste_shift_day != world.day:
        return world
    chosen = np.flatnonzero(rng.random(len(world.listeners)) < plan.taste_shift)
    _, tastes = draw_tastes(len(chosen), world.shelves, rng)
    return replace(world, listeners=changed(world.listeners, chosen, tastes=tastes))


def _shift_catalogue(world: World, period: Period) -> World:
    plan = world.plan
    if plan.catalogue_shift_day != world.day:
        return world
    hits = draw_hits(world.tracks, max(1, round(HITS * plan.tracks)), plan.catalogue_shift, period)
    return replace(world, tracks=appended(world.tracks, hits))


def _grow(world: World, period: Period) -> World:
    plan = world.plan
    new_tracks = rounded(period.rng, plan.growth * plan.tracks)
    tracks = appended(world.tracks, draw_tracks(len(world.tracks), new_tracks, period))
    new_users = rounded(period.rng, plan.growth * plan.users)
    more = draw_listeners(len(world.listeners), new_users, period, world.shelves)
    return replace(world, tracks=tracks, listeners=appended(world.listeners, more))


def _listen(world: World, period: Period) -> World:
    count = rounded(period.rng, world.plan.new_sessions * world.plan.sessions)
    more = draw_sessions(count, world.listening, period)
    return replace(world, sessions=appended(world.sessions, more))


def _change(world: World, period: Period) -> World:
    """A share of the rows gets new content; a session of this very day is changed after it was created."""
    share, rng = world.plan.updates, period.rng
    tracks = _some(world.listed_tracks, share, rng)
    users = _some(world.listed_users, share, rng)
    rows = _some(np.arange(len(world.sessions)), share, rng)
    plays = draw_plays(world.sessions.user[rows], world.listening, rng)
    moments = instants(rng, np.maximum(world.sessions.created[rows], period.start), period.end, len(rows))
    return replace(
        world,
        tracks=_next_versions(world.tracks, tracks, period),
        listeners=_next_versions(world.listeners, users, period),
        sessions=changed(world.sessions, rows, plays=plays, updated=moments),
    )


def _next_versions(table: Versioned, rows: Integers, period: Period) -> Versioned:
    moments = instants(period.rng, period.start, period.end, len(rows))
    return changed(table, rows, version=table.version[rows] + 1, updated=moments)


def _remove(world: World, rng: np.random.Generator) -> World:
    """A few rows vanish: unpopular tracks and any users, each with their sessions, and some sessions more."""
    share = world.plan.removals
    tracks, listeners = world.tracks, world.listeners
    unpopular = world.listed_tracks[tracks.popularity[world.listed_tracks] < UNPOPULAR]
    track_listed = _without(tracks.listed, unpopular, share * len(world.listed_tracks), rng)
    user_listed = _without(listeners.listed, world.listed_users, share * len(world.listed_users), rng)
    sessions = kept(world.sessions, rng.random(len(world.sessions)) >= share)
    return replace(
        world,
        tracks=replace(tracks, listed=track_listed),
        listeners=replace(listeners, listed=user_listed),
        sessions=without_orphans(sessions, track_listed, user_listed),
    )


def _without(
    listed: NDArray[np.bool_], candidates: Integers, expected: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    left = listed.copy()
    left[rng.permutation(candidates)[: rounded(rng, expected)]] = False
    return left


def _some(rows: Integers, share: float, rng: np.random.Generator) -> Integers:
    """About a share of the rows, each at most once, in order."""
    return np.asarray(rows[rng.random(len(rows)) < share])


def without_orphans(sessions: Sessions, tracks: NDArray[np.bool_], users: NDArray[np.bool_]) -> Sessions:
    """Only the sessions whose user and tracks are all listed."""
    known_track = np.append(tracks, True)  # the last one answers for NO_TRACK, which is -1
    return kept(sessions, users[sessions.user] & known_track[sessions.plays].all(axis=1))


def earlier_world(base: World, day: dt.date) -> World:
    """The base world without what had not happened by `day`.

    A row that was changed later shows its creation as its last change; a session appears with the last of its
    user and tracks, so that there are no orphans.
    """
    now = midnight(day)
    tracks = _as_of(base.tracks, now)
    listeners = _as_of(base.listeners, now)
    sessions = kept(base.sessions, base.sessions.created < now)
    sessions = replace(sessions, updated=_updates_by(sessions.created, sessions.updated, now))
    sessions = without_orphans(sessions, tracks.listed, listeners.listed)
    return World(base.plan, day, tracks, listeners, sessions)


def _as_of(table: Versioned, now: int) -> Versioned:
    return replace(table, listed=table.created < now, updated=_updates_by(table.created, table.updated, now))


def _updates_by(created: Integers, updated: Integers, now: int) -> Integers:
    return np.where(updated < now, updated, created)
