"""Complete ingest runs as a reference for tests. They run in this process, with their own database and data folder."""

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
from tests.conftest import PAGE_SIZE, MockApi, Query, url_of_database
from tests.database_state import database_state

Tables = dict[str, list[tuple[Any, ...]]]
WAREHOUSE_AND_MARTS = ("warehouse.", "mart.")


@contextmanager
def open_query(url: str) -> Iterator[Query]:
    """A function that runs a query in this database."""
    with open_connection(url) as connection:
        yield lambda text, *parameters: connection.execute(text, parameters or None).fetchall()


def quick_settings(api_url: str, database: str, data_dir: Path) -> dict[str, str]:
    """Settings with short time-outs."""
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
    """The content of every table after undisturbed runs of these days."""
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
    """Create a database of this name, filled by undisturbed runs of these days, as a template for tests."""
    with open_connection(postgres) as connection:
        connection.execute(
            sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(empty))
        )
    tables = ingest_days(api, url_of_database(postgres, name), data_dir, days)
    with open_connection(postgres) as connection:
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])
    yield tables
    with open_connection(postgres) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
    shutil.rmtree(data_dir, ignore_errors=True)


def warehouse_and_marts(tables: Tables) -> Tables:
    """Only the tables of warehouse and marts."""
    return {name: rows for name, rows in tables.items() if name.startswith(WAREHOUSE_AND_MARTS)}


def without_revisions(tables: Tables) -> Tables:
    """The tables of warehouse and marts, with the revision removed from batch ids."""
    return {
        name: sorted((tuple(_first_revision(value) for value in row) for row in rows), key=repr)
        for name, rows in warehouse_and_marts(tables).items()
    }


def _first_revision(value: Any) -> Any:
    head, _, tail = str(value).rpartition("-r")
    return head if head and tail.isdigit() else value
