"""Shared by all measurements: the mock API, one database each, and the first ingest."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from psycopg import sql

from benchmarks.figures import Measurement
from benchmarks.ingests import IngestMeasurement, ingest_day
from benchmarks.minimal_loader import FETCH_THREADS, PAGE_SIZE
from benchmarks.processes import ProcessResult, Runner, Show
from benchmarks.source import BASE_DAY, Sizes, bare_fetch, mock_api
from core.database import Connection, connect, migrate
from core.sessions import open_connection
from core.settings import Settings

NO_SOURCE = "http://127.0.0.1:1"
"""The API of measurements that fetch nothing."""


@dataclass
class BenchmarkContext:
    """One run of the benchmarks. `at_exit` stops its mock API.

    `postgres` is the URL of a server that nothing else uses. `growth` are numbers of sessions. `rounds` is how often
    each side of a ratio is measured.
    """

    sizes: Sizes
    growth: tuple[int, ...]
    rounds: int
    folder: Path
    postgres: str
    runner: Runner
    show: Show
    at_exit: ExitStack = field(default_factory=ExitStack)
    _api_url: str | None = None

    def run(self, work: Callable[..., Any], *arguments: Any) -> ProcessResult[Any]:
        """Call `work(show, *arguments)`, in a fresh process unless a test does without."""
        return self.runner(self.show, work, *arguments)

    def measure(self, work: Callable[..., Measurement], *arguments: Any) -> Measurement:
        """Call `work(show, *arguments, rounds)` in a process of its own, which measures and returns the results."""
        measurement: Measurement = self.run(work, *arguments, self.rounds).result
        return measurement

    def ensure_mock_api(self) -> str:
        """Start the mock API of the main data set at the first call, and return its URL."""
        if self._api_url is None:
            self.show(f"starting the mock API: {self.sizes}")
            self._api_url = self.at_exit.enter_context(mock_api(self.sizes))
        return self._api_url

    def settings(self, name: str, api_url: str | None = None) -> Settings:
        """Settings with a data folder and a database of that name. The database is created if it is missing."""
        return Settings.model_validate(
            {
                "moovitamix_api_url": api_url or self.ensure_mock_api(),
                "moovitamix_api_token": None,
                "database_url": self._ensure_database(f"benchmark_{name}"),
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
        return self.run(ingest_day, settings, day)

    def bare_fetch_seconds(self) -> float:
        """Seconds of the bare loop over the current snapshots, in a fresh process."""
        return self.run(bare_fetch, self.ensure_mock_api()).seconds

    def first_ingest_of(self, sizes: Sizes) -> ProcessResult[IngestMeasurement]:
        """The first ingest of another data set. Its database and files are deleted at the end."""
        name = f"growth_{sizes.sessions}"
        self.show(f"starting the mock API: {sizes}")
        with mock_api(sizes) as api_url:
            process = self.ingest(self.settings(name, api_url), BASE_DAY)
        with open_connection(self.postgres) as connection:
            database = sql.Identifier(f"benchmark_{name}")
            connection.execute(sql.SQL("drop database {} with (force)").format(database))
        shutil.rmtree(self.folder / name)
        return process

    def _ensure_database(self, name: str) -> str:
        with open_connection(self.postgres) as connection:
            row = connection.execute("select from pg_database where datname = %s", [name]).fetchone()
            if row is None:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        return self.postgres.replace("/postgres?", f"/{name}?")


def url_of(settings: Settings) -> str:
    """The URL of the database of these settings."""
    return settings.database_url.get_secret_value()


@contextmanager
def migrate_and_connect(settings: Settings) -> Iterator[Connection]:
    """Migrate the database of these settings if needed, and yield a connection."""
    migrate(url_of(settings))
    with connect(url_of(settings)) as connection:
        yield connection
