"""Shared by all measurements: the mock API, one database each, and the first ingest."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Self

from psycopg import sql

from benchmarks.ingests import IngestMeasurement, ingest_day
from benchmarks.processes import ProcessResult, Runner, Show
from benchmarks.source import BASE_DAY, Sizes, bare_fetch, mock_api
from core.sessions import open_connection
from core.settings import Settings

PAGE_SIZE = 100
FETCH_THREADS = 4
NO_SOURCE = "http://127.0.0.1:1"
"""The API of measurements that fetch nothing."""


@dataclass
class BenchmarkContext:
    """One run of the benchmarks. As a context manager, it stops its mock API at the end.

    `postgres` is the URL of a server that nothing else uses. `growth` are numbers of sessions. `rounds` is how often
    each side of a ratio is measured.
    """

    sizes: Sizes
    growth: tuple[int, ...]
    rounds: int
    folder: Path
    postgres: str
    run: Runner
    show: Show
    _at_exit: ExitStack = field(default_factory=ExitStack)
    _api_url: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._at_exit.close()

    def ensure_mock_api(self) -> str:
        """Start the mock API of the main data set at the first call, and return its URL."""
        if self._api_url is None:
            self.show(f"starting the mock API: {self.sizes}")
            self._api_url = self._at_exit.enter_context(mock_api(self.sizes))
        return self._api_url

    def settings(self, name: str, api_url: str | None = None) -> Settings:
        """Settings with a data folder and a database of that name. The database is created if it is missing."""
        return Settings.model_validate(
            {
                "moovitamix_api_url": api_url or self.ensure_mock_api(),
                "moovitamix_api_token": None,
                "database_url": self._ensure_database(_database_name(name)),
                "data_dir": self.folder / name,
                "page_size": PAGE_SIZE,
                "fetch_threads": FETCH_THREADS,
            }
        )

    def capped(self, users: int, tracks: int) -> tuple[int, int]:
        """The numbers of users and tracks, at most these."""
        return min(self.sizes.users, users), min(self.sizes.tracks, tracks)

    @cached_property
    def warehouse(self) -> Settings:
        """The database of the first ingest and of the next days."""
        return self.settings("warehouse")

    @cached_property
    def first_ingest(self) -> ProcessResult[IngestMeasurement]:
        """The first ingest of the main data set, measured once."""
        return self.ingest(self.warehouse, BASE_DAY)

    def ingest(self, settings: Settings, day: date) -> ProcessResult[IngestMeasurement]:
        """Ingest a day in a fresh process."""
        return self.run(self.show, ingest_day, settings, day)

    def bare_fetch_seconds(self) -> float:
        """Seconds of the bare loop over the current snapshots, in a fresh process."""
        return self.run(self.show, bare_fetch, self.ensure_mock_api(), FETCH_THREADS, PAGE_SIZE).seconds

    @contextmanager
    def first_ingest_of(self, sizes: Sizes) -> Iterator[ProcessResult[IngestMeasurement]]:
        """The first ingest of another data set. Its database and files are deleted at the end."""
        name = f"growth_{sizes.sessions}"
        self.show(f"starting the mock API: {sizes}")
        with mock_api(sizes) as api_url:
            yield self.ingest(self.settings(name, api_url), BASE_DAY)
        database = sql.Identifier(_database_name(name))
        with open_connection(self.postgres) as connection:
            connection.execute(sql.SQL("drop database {} with (force)").format(database))
        shutil.rmtree(self.folder / name)

    def _ensure_database(self, name: str) -> str:
        with open_connection(self.postgres) as connection:
            row = connection.execute("select from pg_database where datname = %s", [name]).fetchone()
            if row is None:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        return self.postgres.replace("/postgres?", f"/{name}?")


def _database_name(name: str) -> str:
    return f"benchmark_{name}"
