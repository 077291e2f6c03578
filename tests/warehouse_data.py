"""Small data sets, which are written into a migrated database in the form that an ingest writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import psycopg

from core.database import connect

Connection = psycopg.Connection[Any]

# In the past: results must depend on the newest play, not on the current date.
NEWEST = datetime(2024, 3, 31, 1, 30, tzinfo=UTC)  # an hour that many time zones skip in spring
WEEKS = 8
GENRES = ("Rock", "Jazz", "")
BATCHES = ("tracks-2024-03-31", "users-2024-03-31", "listen_history-2024-03-31")


class Session(NamedTuple):
    """A user played these tracks at this time."""

    user: int
    at: datetime
    tracks: tuple[int, ...]


@dataclass(frozen=True)
class WarehouseData:
    """Users with their favourite genres, tracks, and sessions."""

    users: Mapping[int, str] = field(default_factory=dict)
    tracks: Sequence[int] = ()
    sessions: Sequence[Session] = ()

    def played_tracks(self, user: int) -> set[int]:
        """All tracks that the user played."""
        return {track for session in self.sessions if session.user == user for track in session.tracks}


def taste_group_of(number: int) -> int:
    """The group (0 or 1) of a user or track of `two_taste_groups`."""
    return number % 2


def two_taste_groups(users: int = 120, tracks: int = 80, seed: int = 0) -> WarehouseData:
    """Odd users play odd tracks and even users even tracks, three per week. Genres are independent of the groups."""
    random = np.random.default_rng(seed)
    sessions = [
        Session(user, at, tuple(int(2 * track + taste_group_of(user)) for track in random.integers(1, tracks // 2, 3)))
        for user in range(1, users + 1)
        for at in _weekly(random)
    ]
    return WarehouseData(_with_genres(range(1, users + 1)), range(2, tracks), sessions)


def random_tastes(users: int = 120, tracks: int = 60, seed: int = 0) -> WarehouseData:
    """Every user plays random tracks."""
    random = np.random.default_rng(seed)
    sessions = [
        Session(user, at, tuple(map(int, random.integers(1, tracks + 1, 3))))
        for user in range(1, users + 1)
        for at in _weekly(random)
    ]
    return WarehouseData(_with_genres(range(1, users + 1)), range(1, tracks + 1), sessions)


def identical_users(users: int = 40, tracks: int = 20) -> WarehouseData:
    """All users played the same half of the catalogue in the same order, at the same times."""
    sessions = [
        Session(user, NEWEST - timedelta(weeks=week), (week + 1,))
        for user in range(1, users + 1)
        for week in range(tracks // 2)
    ]
    return WarehouseData(dict.fromkeys(range(1, users + 1), "Rock"), range(1, tracks + 1), sessions)


def with_large_ids(data: WarehouseData) -> WarehouseData:
    """The same data with ids up to 2^63-1."""
    max_id = np.iinfo(np.int64).max
    highest_user, highest_track = max(data.users), max(data.tracks)
    return WarehouseData(
        {int(max_id - highest_user + user): genre for user, genre in data.users.items()},
        [int(max_id - highest_track + track) for track in data.tracks],
        [
            Session(
                int(max_id - highest_user + session.user),
                session.at,
                tuple(int(max_id - highest_track + track) for track in session.tracks),
            )
            for session in data.sessions
        ],
    )


def fill_warehouse(database: str, data: WarehouseData) -> None:
    """Insert the data with its batches and audit results."""
    with connect(database) as connection:
        for table in ("listen_history", "listen_history_tracks"):
            connection.execute(f"create table warehouse.{table}_rest partition of warehouse.{table} default")
        add_users(connection, data.users)
        add_tracks(connection, data.tracks)
        for batch in BATCHES:
            connection.execute(
                "insert into ops.batches (batch_id, endpoint, day, revision, source, status, started_at)"
                " values (%s, %s, '2024-03-31', 1, 'http://source', 'published', '2024-03-31')",
                [batch, batch.partition("-")[0]],
            )
            connection.execute(
                "insert into ops.expectation_results (batch_id, expectation, severity, success)"
                " values (%s, 'id_is_unique', 'critical', true), (%s, 'name_is_not_blank', 'warning', false)",
                [batch, batch],
            )
        add_sessions(connection, data.sessions)


def add_users(connection: Connection, users: Mapping[int, str]) -> None:
    """Insert users with their favourite genres."""
    with connection.cursor() as cursor, cursor.copy("copy warehouse.users from stdin") as copy:
        for user, genre in users.items():
            copy.write_row((user, "Ada", "L", "ada@example.org", "Female", genre, NEWEST, NEWEST, None, 0, "b"))


def add_tracks(connection: Connection, tracks: Iterable[int]) -> None:
    """Insert tracks."""
    with connection.cursor() as cursor, cursor.copy("copy warehouse.tracks from stdin") as copy:
        for track in tracks:
            title = f"Song {track}"
            copy.write_row((track, title, "A", "S", "03:05", 185, "calm", "LP", NEWEST, NEWEST, None, 0, "b"))


def add_sessions(connection: Connection, sessions: Iterable[Session]) -> None:
    """Insert sessions and rebuild the play counts."""
    insert_sessions(connection, sessions)
    rebuild_play_counts(connection)


def insert_sessions(connection: Connection, sessions: Iterable[Session]) -> None:
    """Insert sessions only. Other transactions can still read the play counts."""
    (first,) = connection.execute("select coalesce(max(id), 0) + 1 from warehouse.listen_history").fetchone() or (1,)
    numbered = list(enumerate(sessions, first))
    with connection.cursor() as cursor:
        with cursor.copy("copy warehouse.listen_history from stdin") as copy:
            for number, session in numbered:
                copy.write_row((number, session.user, session.at, session.at, None, 0, "b"))
        with cursor.copy("copy warehouse.listen_history_tracks from stdin") as copy:
            for number, session in numbered:
                for position, track in enumerate(session.tracks, 1):
                    copy.write_row((number, position, track, session.at))


def rebuild_play_counts(connection: Connection) -> None:
    """Rebuild `mart.user_track_plays`."""
    with connection.transaction():
        connection.execute("truncate mart.user_track_plays")
        connection.execute(
            "insert into mart.user_track_plays"
            " select user_id, track_id, count(*), min(listened_at), max(listened_at) from mart.fact_listens"
            " group by user_id, track_id"
        )


def mark_removed(connection: Connection, table: str, number: int) -> None:
    """Mark a row as removed at the source. Its plays stay, as after an ingest."""
    connection.execute(f"update warehouse.{table} set removed_at = '2024-06-01' where id = %s", [number])


def _weekly(random: np.random.Generator) -> list[datetime]:
    """One random time in each of the last weeks."""
    return [
        NEWEST
        - timedelta(weeks=week, seconds=int(random.integers(7 * 86_400)), microseconds=int(random.integers(10**6)))
        for week in range(WEEKS)
    ]


def _with_genres(users: Iterable[int]) -> dict[int, str]:
    """Favourite genres that are independent of the taste groups."""
    return {user: GENRES[(user // 2) % len(GENRES)] for user in users}
