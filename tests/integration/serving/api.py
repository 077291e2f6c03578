"""Test data in plain SQL (users, tracks, publications), and the API over real HTTP."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import uvicorn

from core.api_scopes import Scope
from core.database import connect
from core.settings import Settings
from demo.local_services import free_ports
from serving import keys
from serving.app import MAX_HEAD_BYTES, create_app
from serving.keys import SCOPES

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
# Users with recommendations; fans of Rock and Jazz without recommendations; a removed user; tracks and a removed one.
USERS, ROCK_FAN, JAZZ_FAN, REMOVED_USER = range(1, 21), 31, 32, 33
TRACKS, REMOVED_TRACK = range(1, 101), 101


def populate(connection: psycopg.Connection[Any]) -> None:
    """Insert users and tracks."""
    users = [(user, "Rock", NOW, NOW, None) for user in (*USERS, ROCK_FAN)]
    users += [(JAZZ_FAN, "Jazz", NOW, NOW, None), (REMOVED_USER, "Rock", NOW, NOW, NOW)]
    tracks = [(track, f"Title {track}", NOW, NOW, None) for track in TRACKS]
    tracks += [(REMOVED_TRACK, f"Title {REMOVED_TRACK}", NOW, NOW, NOW)]
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into warehouse.users values"
            " (%s, 'Ada', 'Lovelace', 'ada@example.org', 'f', %s, %s, %s, %s, 0, 'b')",
            users,
        )
        cursor.executemany(
            "insert into warehouse.tracks values"
            " (%s, %s, 'Artist', 's', '03:00', 180, 'words', 'album', %s, %s, %s, 0, 'b')",
            tracks,
        )


def stage(
    connection: psycopg.Connection[Any],
    lists: dict[int, Sequence[int]],
    fallbacks: dict[str, Sequence[int]] | None = None,
    similar: dict[int, Sequence[int]] | None = None,
) -> int:
    """Create a publication at NOW with attached partitions, not live yet; return its id. Scores are 1 / rank."""
    publication = _first(
        connection,
        "with run as ("
        " insert into ml.model_runs (model, seed, data_as_of, batches, code_version, decision, started_at)"
        " values ('popularity', 1, %(now)s, '{}', 'v', 'published', %(now)s) returning model_run_id)"
        " insert into ml.publications (model_run_id, flow, status, data_as_of, batches, listeners, rows,"
        " tracks_covered, made_at) select model_run_id, 'test', 'published', %(now)s, '{}', 1, 1, 1, %(now)s from run"
        " returning publication_id",
        {"now": NOW},
    )
    for table, key, track, content in (
        ("recommendations", "user_id", "track_id", lists),
        ("similar_tracks", "track_id", "similar_track_id", similar or {}),
    ):
        part = f"ml.{table}_{publication}"
        connection.execute(f"create table {part} (like ml.{table}, primary key ({key}, rank))")
        with connection.cursor() as cursor:
            cursor.executemany(
                f"insert into {part} (publication_id, {key}, rank, {track}, score) values (%s, %s, %s, %s, %s)",
                [
                    (publication, row_id, rank, track_id, 1 / rank)
                    for row_id, tracks in content.items()
                    for rank, track_id in enumerate(tracks, 1)
                ],
            )
        connection.execute(f"alter table ml.{table} attach partition {part} for values in ({publication})")
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into ml.fallbacks (publication_id, genre, rank, track_id, score) values (%s, %s, %s, %s, %s)",
            [
                (publication, genre, rank, track_id, 1 / rank)
                for genre, tracks in (fallbacks or {}).items()
                for rank, track_id in enumerate(tracks, 1)
            ],
        )
    return publication


def go_live(connection: psycopg.Connection[Any], publication: int) -> None:
    """Make a publication live at NOW, also as a rollback. The health page of these tests uses a test clock."""
    connection.execute(
        "insert into ml.live_publications (publication_id, live_from, why) values (%s, %s, 'test')", [publication, NOW]
    )


def drop(connection: psycopg.Connection[Any], publication: int) -> None:
    """Drop the partitions of a publication, like retention."""
    connection.execute(f"drop table ml.recommendations_{publication}, ml.similar_tracks_{publication}")


def _first(connection: psycopg.Connection[Any], text: str, parameters: dict[str, Any]) -> int:
    row = connection.execute(text, parameters).fetchone()
    assert row
    return int(row[0])


def free_port() -> int:
    return free_ports(1)[0]


@dataclass
class Api:
    """A running API, and a client with a key of all scopes."""

    database: str
    url: str
    key: str
    client: httpx.Client = field(repr=False)
    clock_file: Path | None = None

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, **options)

    def read(self, user_id: object, n: object = None) -> httpx.Response:
        """Request the recommendations of a user."""
        return self.get(f"/v1/users/{user_id}/recommendations", params={} if n is None else {"n": n})

    def send_feedback(self, **feedback: Any) -> httpx.Response:
        """Send feedback."""
        return self.client.post("/v1/feedback", json=feedback)

    def new_key(self, *scopes: Scope, **options: Any) -> keys.ApiKey:
        with connect(self.database) as connection:
            return keys.create(connection, "test", scopes, options.pop("now", NOW), **options)


@contextmanager
def serving(database: str, **settings: Any) -> Iterator[Api]:
    """Run the API on a database in a thread, over real HTTP. With a key, the database may be unavailable."""
    key = settings.pop("key", None)
    if key is None:
        with connect(database) as connection:
            key = keys.create(connection, "test", SCOPES, NOW).text
    settings_values = Settings.model_validate(
        {"serving_key_cache_seconds": 0.3, "serving_refusals_per_minute": 10_000} | settings
    )
    app = create_app(settings_values, database)
    options = {"h11_max_incomplete_event_size": MAX_HEAD_BYTES, "timeout_graceful_shutdown": 2}
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, **options))  # type: ignore[arg-type]
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        transport = httpx.HTTPTransport(retries=20)
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=url, headers=headers, transport=transport, timeout=60) as client:
            _wait_until_it_listens(server)
            yield Api(database, url, key, client, settings_values.clock_file)
    finally:
        server.should_exit = True
        thread.join(timeout=60)
        listening.close()


def _wait_until_it_listens(server: uvicorn.Server) -> None:
    deadline = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
