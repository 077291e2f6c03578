"""Whole runs that others are compared with: in this process, each with a database and a data folder of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from core.sessions import open_connection
from flows.ingest import main
from tests.conftest import PAGE_SIZE, MockApi, Query, new_database, url_of_database
from tests.database_state import database_state

Tables = dict[str, list[tuple[Any, ...]]]
WAREHOUSE_AND_MARTS = ("warehouse.", "mart.")

temporary_database = contextmanager(new_database)


@contextmanager
def open_query(url: str) -> Iterator[Query]:
    """Ask a database something."""
    with open_connection(url) as connection:
        yield lambda text, *parameters: connection.execute(text, parameters or None).fetchall()


def quick_settings(api_url: str, database: str, data_dir: Path) -> dict[str, str]:
    """The settings of a run that a test waits for."""
    return {
        "MOOVITAMIX_API_URL": api_url,
        "DATABASE_URL": database,
        "DATA_DIR": str(data_dir),
        "PAGE_SIZE": str(PAGE_SIZE),
        "READ_TIMEOUT_SECONDS": "1",
        "GIVE_UP_AFTER_SECONDS": "3",
        "FETCH_TRIES": "3",
        "LOCK_WAIT_SECONDS": "2",
    }


def ingest_days(api: MockApi, database: str, data_dir: Path, days: Sequence[str]) -> Tables:
    """Every table after clean runs of these days, the state of the source moving along."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in quick_settings(api.url, database, data_dir).items():
            patch.setenv(name, value)
        for day in days:
            api.reset()
            api.set_day(day)
            assert main(["--day", day]) == 0
    api.reset()
    with open_query(database) as query:
        return database_state(query)


@contextmanager
def template_with_days(
    postgres: str, name: str, api: MockApi, data_dir: Path, empty: str, days: Sequence[str]
) -> Iterator[Tables]:
    """A database of this name that clean runs of these days have filled, to be copied by tests."""
    with open_connection(postgres) as connection:
        connection.execute(
            sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(empty))
        )
    filled = ingest_days(api, url_of_database(postgres, name), data_dir, days)
    with open_connection(postgres) as connection:
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])
    yield filled
    with open_connection(postgres) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
    shutil.rmtree(data_dir, ignore_errors=True)


def warehouse_and_marts(tables: Tables) -> Tables:
    """The published state alone."""
    return {name: rows for name, rows in tables.items() if name.startswith(WAREHOUSE_AND_MARTS)}


def without_revisions(tables: Tables) -> Tables:
    """The published state, with it left open at which attempt of a day it came in."""
    return {
        name: sorted((tuple(_first_revision(value) for value in row) for row in rows), key=repr)
        for name, rows in warehouse_and_marts(tables).items()
    }


def _first_revision(value: Any) -> Any:
    head, _, tail = str(value).rpartition("-r")
    return head if head and tail.isdigit() else value
