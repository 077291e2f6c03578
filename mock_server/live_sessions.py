"""Sessions that users start while the mock runs. The snapshots of later days contain them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mock_server.day_state import DayState
from mock_server.records import Record
from mock_server.sessions import NO_TRACK, draw_plays, draw_users


class LiveSession(msgspec.Struct, frozen=True):
    """One session: the ids of user and tracks, and when it began and was last changed, in UTC without a zone."""

    user_id: int
    items: list[int]
    created_at: dt.datetime
    updated_at: dt.datetime


class UnknownPlay(LookupError):
    """No listed user or track has this id."""


class LiveSessions:
    """All live sessions, oldest first. `file` keeps them across restarts, one JSON object per line."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._sessions: list[LiveSession] = []
        if file is not None and file.exists():
            content = file.read_bytes()
            lines = content[: content.rfind(b"\n") + 1]
            if len(lines) < len(content):  # the mock was killed while it wrote the last line
                file.write_bytes(lines)
            self._sessions = msgspec.json.Decoder(LiveSession).decode_lines(lines)

    def draw(self, state: DayState, count: int, now: dt.datetime) -> list[LiveSession]:
        """Add `count` sessions that begin now. Users are drawn by their activity, tracks by the users' tastes."""
        rng = np.random.default_rng([state.plan.seed, state.day.toordinal(), len(self._sessions)])
        users = draw_users(count, state.users, rng)
        tracks = [row[row != NO_TRACK] for row in draw_plays(users, state.listening_model, rng)]
        moments = [_on_day(state, now + dt.timedelta(microseconds=number)) for number in range(count)]
        return self._add(
            [
                LiveSession(user, state.tracks.id[played].tolist(), moment, moment)
                for user, played, moment in zip(state.users.id[users].tolist(), tracks, moments, strict=True)
            ]
        )

    def play(self, state: DayState, user_id: int, track_ids: Sequence[int], now: dt.datetime) -> list[LiveSession]:
        """Add one session of a user with these tracks. Raises UnknownPlay."""
        if user_id not in state.users.id[state.listed_users]:
            raise UnknownPlay(f"no listed user has the id {user_id}")
        unknown = sorted(set(track_ids) - set(state.tracks.id[state.listed_tracks].tolist()))
        if unknown:
            raise UnknownPlay(f"no listed track has the id {unknown[0]}")
        moment = _on_day(state, now)
        return self._add([LiveSession(user_id, list(track_ids), moment, moment)])

    def rows(self, state: DayState) -> list[Record]:
        """The rows of /listen_history: sessions before the day, of users and tracks that are listed."""
        midnight = dt.datetime.combine(state.day, dt.time())
        sessions = [session for session in self._sessions if session.created_at < midnight]
        if not sessions:
            return []
        users = set(state.users.id[state.listed_users].tolist())
        tracks = set(state.tracks.id[state.listed_tracks].tolist())
        return [
            _as_row(session) for session in sessions if session.user_id in users and tracks.issuperset(session.items)
        ]

    def _add(self, sessions: list[LiveSession]) -> list[LiveSession]:
        self._sessions += sessions
        if self._file is not None:
            with self._file.open("ab") as file:
                file.writelines(msgspec.json.encode(session) + b"\n" for session in sessions)
        return sessions


def _on_day(state: DayState, now: dt.datetime) -> dt.datetime:
    """This time of day on the simulated day."""
    return dt.datetime.combine(state.day, now.time())


def _as_row(session: LiveSession) -> dict[str, Any]:
    return {
        "user_id": session.user_id,
        "items": session.items,
        "created_at": session.created_at,
        "updated_at": session.updated_at,
    }
