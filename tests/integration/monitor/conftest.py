"""Databases with live recommendations, and users who play them or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.database import connect
from tests.conftest import temporary_database
from tests.integration.monitor.quiet import quiet_days
from tests.integration.monitor.world import Connection, populate
from tests.integration.recommend.conftest import no_settings as no_settings
from tests.publications import quick_settings

_SMALL, _QUIET = "monitor_small", "monitor_quiet"
# Identity columns that are reset, so that ids are the same as in a new database.
_COUNTED = {
    "ml.model_runs": "model_run_id",
    "ml.publications": "publication_id",
    "ml.live_publications": "live_id",
    "ml.alarms": "alarm_id",
    "ml.decisions": "decision_id",
}


@contextmanager
def _for_a_while(url: str) -> Iterator[Connection]:
    """A connection on which everything is undone at the end: quicker than a database for each test."""
    with connect(url) as connection:
        connection.execute("begin")
        for table, column in _COUNTED.items():
            (newest,) = connection.execute(f"select coalesce(max({column}), 0) from {table}").fetchone() or (0,)
            connection.execute(f"alter table {table} alter {column} restart with {newest + 1}")
        yield connection
        connection.execute("rollback")


@pytest.fixture(scope="session")
def _small(postgres: str, _template: str) -> Iterator[str]:
    with temporary_database(postgres, _template, _SMALL) as url:
        populate(url, range(1, 10), range(1, 61))
        yield url


@pytest.fixture
def connection(_small: str) -> Iterator[Connection]:
    """Users 1 to 9 and tracks 1 to 60, without plays and publications."""
    with _for_a_while(_small) as connection:
        yield connection


@pytest.fixture(scope="session")
def quiet_template(postgres: str, _template: str) -> Iterator[str]:
    """A template database with quiet days."""
    with temporary_database(postgres, _template, _QUIET) as url:
        quiet_days(url)
        yield _QUIET


@pytest.fixture(scope="session")
def _shared(postgres: str, quiet_template: str) -> Iterator[str]:
    with temporary_database(postgres, quiet_template, f"{_QUIET}_shared") as url:
        yield url


@pytest.fixture
def quiet(_shared: str) -> Iterator[Connection]:
    """Publication 1 is live, and six quiet days are not evaluated yet."""
    with _for_a_while(_shared) as connection:
        yield connection


@pytest.fixture
def quiet_database(postgres: str, quiet_template: str) -> Iterator[str]:
    """The URL of a copy with committed data."""
    with temporary_database(postgres, quiet_template) as url:
        yield url


@pytest.fixture
def copied(quiet_database: str) -> Iterator[Connection]:
    """Like `quiet`, in the copy that flows use."""
    with connect(quiet_database) as connection:
        yield connection


@pytest.fixture
def runs(
    quiet_database: str, prefect_server: None, no_settings: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flows use that database with the settings of `world.RULES`."""
    rules = {"MONITOR_H": "3", "MONITOR_USEFUL_H": "3", "MONITOR_WARM_UP": "4", "MONITOR_LISTENERS": "5"}
    for name, value in {**quick_settings(quiet_database, tmp_path / "data"), **rules}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MONITOR_COOL_DOWN_DAYS", "10")
