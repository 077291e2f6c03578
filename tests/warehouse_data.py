"""Small worlds of listeners, written straight into a migrated database as many ingests would have left them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import psycopg

from core.database import connect

Connection = psycopg.Connection[Any]

# Years ago: what is asked for hangs on the newest play, not on the day of the test.
NEWEST = datetime(2024, 3, 31, 1, 30, tzinfo=UTC)  # an hour that many clocks skip
WEEKS = 8
GENRES = ("Rock", "Jazz", "")
BATCHES = ("tracks-2024-03-31", "users-2024-03-31", "listen_history-2024-03-31")


class Session(NamedTuple):
    """Somebody listened to these tracks."""

    user: int
    at: datetime
    tracks: tuple[int, ...]


@dataclass(frozen=True)
class WarehouseData:
    """Users with their favourite genres, tracks, and who listened to what, when."""

    users: Mapping[int, str] = field(default_factory=dict)
    tracks: Sequence[int] = ()
    sessions: Sequence[Session] = ()

    def played(self, user: int) -> set[int]:
        """What they ever played."""
        return {track for session in self.sessions if session.user == user for track in session.tracks}


def taste_group_of(number: int) -> int:
    """Which of the two camps a user or a track of `two_camps` is in."""
    return number % 2


def two_taste_groups(users: int = 120, tracks: int = 80, seed: int = 0) -> WarehouseData:
    """Listeners of odd numbers play tracks of odd numbers, others others, a new few each week; genres say nothing."""
    random = np.random.default_rng(seed)
    sessions = [
        Session(user, at, tuple(int(2 * track + taste_group_of(user)) for track in random.integers(1, tracks // 2, 3)))
        for user in range(1, users + 1)
        for at in _weekly(random)
    ]
    return WarehouseData(_with_genres(range(1, users + 1)), range(2, tracks), sessions)


def random_tastes(users: int = 120, tracks: int = 60, seed: int = 0) -> WarehouseData:
    """Nobody has a taste."""
    random = np.random.default_rng(seed)
    sessions = [
        Session(user, at, tuple(map(int, random.integers(1, tracks + 1, 3))))
        for user in range(1, users + 1)
        for at in _weekly(random)
    ]
    return WarehouseData(_with_genres(range(1, users + 1)), range(1, tracks + 1), sessions)


def identical_users(users: int = 40, tracks: int = 20) -> WarehouseData:
    """Everyone played the same half of the catalogue in the same order, at the same times."""
    sessions = [
        Session(user, NEWEST - timedelta(weeks=week), (week + 1,))
        for user in range(1, users + 1)
        for week in range(tracks // 2)
    ]
    return WarehouseData(dict.fromkeys(range(1, users + 1), "Rock"), range(1, tracks + 1), sessions)


def with_large_ids(world: WarehouseData) -> WarehouseData:
    """The same world with ids that end at 2^63-1."""
    last = np.iinfo(np.int64).max
    most_users, most_tracks = max(world.users), max(world.tracks)
    return WarehouseData(
        {int(last - most_users + user): genre for user, genre in world.users.items()},
        [int(last - most_tracks + track) for track in world.tracks],
        [
            Session(
                int(last - most_users + one.user),
                one.at,
                tuple(int(last - most_tracks + track) for track in one.tracks),
            )
            for one in world.sessions
        ],
    )


def fill_warehouse(database: str, world: WarehouseData) -> None:
    """Write the world down, with the batches it came in by and their audits."""
    with connect(database) as connection:
        for table in ("listen_history", "listen_history_tracks"):
            connection.execute(f"create table warehouse.{table}_rest partition of warehouse.{table} default")
        add_users(connection, world.users)
        add_tracks(connection, world.tracks)
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
        add_sessions(connection, world.sessions)


def add_users(connection: Connection, users: Mapping[int, str]) -> None:
    """More users, with their favourite genres."""
    with connection.cursor() as cursor, cursor.copy("copy warehouse.users from stdin") as copy:
        for user, genre in users.items():
            copy.write_row((user, "Ada", "L", "ada@example.org", "Female", genre, NEWEST, NEWEST, None, 0, "b"))


def add_tracks(connection: Connection, tracks: Iterable[int]) -> None:
    """More tracks."""
    with connection.cursor() as cursor, cursor.copy("copy warehouse.tracks from stdin") as copy:
        for track in tracks:
            title = f"Song {track}"
            copy.write_row((track, title, "A", "S", "03:05", 185, "calm", "LP", NEWEST, NEWEST, None, 0, "b"))


def add_sessions(connection: Connection, sessions: Iterable[Session]) -> None:
    """More sessions, the marts kept up."""
    (first,) = connection.execute("select coalesce(max(id), 0) + 1 from warehouse.listen_history").fetchone() or (1,)
    numbered = list(enumerate(sessions, first))
    with connection.cursor() as cursor:
        with cursor.copy("copy warehouse.listen_history from stdin") as copy:
            for number, one in numbered:
                copy.write_row((number, one.user, one.at, one.at, None, 0, "b"))
        with cursor.copy("copy warehouse.listen_history_tracks from stdin") as copy:
            for number, one in numbered:
                for position, track in enumerate(one.tracks, 1):
                    copy.write_row((number, position, track, one.at))
    rebuild_play_counts(connection)


def rebuild_play_counts(connection: Connection) -> None:
    """Make the recommender's mart anew."""
    with connection.transaction():
        connection.execute("truncate mart.user_track_plays")
        connection.execute(
            "insert into mart.user_track_plays"
            " select user_id, track_id, count(*), min(listened_at), max(listened_at) from mart.fact_listens"
            " group by user_id, track_id"
        )


def mark_removed(connection: Connection, table: str, number: int) -> None:
    """It is gone at the source; its plays stay, as after an ingest."""
    connection.execute(f"update warehouse.{table} set removed_at = '2024-06-01' where id = %s", [number])


def _weekly(random: np.random.Generator) -> list[datetime]:
    """A moment in each of the last weeks, the last of them at any time of it."""
    return [
        NEWEST
        - timedelta(weeks=week, seconds=int(random.integers(7 * 86_400)), microseconds=int(random.integers(10**6)))
        for week in range(WEEKS)
    ]


def _with_genres(users: Iterable[int]) -> dict[int, str]:
    """Favourite genres that have nothing to do with camps."""
    return {user: GENRES[(user // 2) % len(GENRES)] for user in users}
