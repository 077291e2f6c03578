"""Databases with lists that are live, and listeners who play what is on them, or not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from core.database import connect
from tests.conftest import _in_database, _new_database
from tests.integration.monitor.quiet import quiet_days
from tests.integration.monitor.world import Connection, populate
from tests.integration.recommend.conftest import no_settings as no_settings
from tests.recommending import quick_settings

_QUIET = "monitor_quiet"


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    """Users 1 to 9 and tracks 1 to 60, nothing played and nothing live."""
    populate(database, range(1, 10), range(1, 61))
    with connect(database) as connection:
        yield connection


@pytest.fixture(scope="session")
def quiet_template(postgres: str, _template: str) -> Iterator[str]:
    """A database with quiet days, to be copied by tests."""
    names = sql.Identifier(_QUIET), sql.Identifier(_template)
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute(sql.SQL("create database {} template {}").format(*names))
        quiet_days(_in_database(postgres, _QUIET))
        yield _QUIET
        server.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(_QUIET)))


@pytest.fixture
def quiet_database(postgres: str, quiet_template: str) -> Iterator[str]:
    """The URL of a copy of it."""
    yield from _new_database(postgres, quiet_template)


@pytest.fixture
def quiet(quiet_database: str) -> Iterator[Connection]:
    """Publication 1 is live, and six quiet days were not judged yet."""
    with connect(quiet_database) as connection:
        yield connection


@pytest.fixture
def runs(
    quiet_database: str, prefect_server: None, no_settings: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flows work on that database, by the rules of `world.RULES`."""
    rules = {"MONITOR_H": "3", "MONITOR_USEFUL_H": "3", "MONITOR_WARM_UP": "4", "MONITOR_LISTENERS": "5"}
    for name, value in {**quick_settings(quiet_database, tmp_path / "data"), **rules}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MONITOR_COOL_DOWN_DAYS", "10")
