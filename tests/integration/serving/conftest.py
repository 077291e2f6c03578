"""A shared database with publications for tests that only read, and a database for other tests."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
from psycopg import sql

from core.database import connect
from tests.integration.serving.api import (
    JAZZ_FAN,
    NOW,
    REMOVED_TRACK,
    ROCK_FAN,
    USERS,
    Api,
    go_live,
    populate,
    serving,
    stage,
)

_NAME = "serving_world"


@pytest.fixture(scope="package")
def world(postgres: str, _template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The API an hour after NOW. User u has the recommendations u, a removed track, u + 1, u + 2."""
    identifiers = sql.Identifier(_NAME), sql.Identifier(_template)
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {} template {}").format(*identifiers))
    url = postgres.replace("/postgres?", f"/{_NAME}?")
    with connect(url) as connection:
        populate(connection)
        old = stage(connection, {user: [99, 98] for user in USERS})
        go_live(connection, old)
        lists = {user: [user, REMOVED_TRACK, user + 1, user + 2] for user in USERS}
        new = stage(
            connection,
            lists,
            fallbacks={"": [50, 51, REMOVED_TRACK, 52], "Rock": [60, REMOVED_TRACK, 61]},
            similar={1: [2, REMOVED_TRACK, 3]},
        )
        go_live(connection, new)
    assert ROCK_FAN not in lists and JAZZ_FAN not in lists
    clock = tmp_path_factory.mktemp("serving") / "clock"
    clock.write_text((NOW + timedelta(hours=1)).isoformat())
    with serving(url, clock_file=clock) as api:
        yield api
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(_NAME)))


@pytest.fixture
def populated(database: str) -> str:
    """The URL of a database with users and tracks, without a publication."""
    with connect(database) as connection:
        populate(connection)
    return database
