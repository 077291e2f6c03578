"""What all measurements share: the mock API, a database each, and first ingests that more than one of them needs."""

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

from benchmarks.ingests import Ingest, ingest_day
from benchmarks.processes import Ran, Runner, Show
from benchmarks.source import BASE_DAY, Sizes, bare_fetch, mock_api
from core.sessions import open_connection
from core.settings import Settings

PAGE_SIZE = 100
FETCH_THREADS = 4


@dataclass
class Bench:
    """One run of the benchmarks. A context manager: on the way out its mock API ends.

    `postgres` is the URL of a server that nobody else uses; `growth` are numbers of sessions; `rounds` is how often
    the two sides of a ratio are measured, taking turns.
    """

    sizes: Sizes
    growth: tuple[int, ...]
    rounds: int
    folder: Path
    postgres: str
    run: Runner
    show: Show
    _open: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @cached_property
    def api_url(self) -> str:
        """The mock API of the world that most is measured on."""
        self.show(f"starting the mock API: {self.sizes}")
        return self._open.enter_context(mock_api(self.sizes))

    def settings(self, name: str, api_url: str | None = None) -> Settings:
        """Settings with a data folder and a database of that name, which is made when it is not there."""
        return Settings.model_validate(
            {
                "moovitamix_api_url": api_url or self.api_url,
                "moovitamix_api_token": None,
                "database_url": self._database(name),
                "data_dir": self.folder / name,
                "page_size": PAGE_SIZE,
                "fetch_threads": FETCH_THREADS,
            }
        )

    @cached_property
    def warehouse(self) -> Settings:
        """Where the first ingest of the main world goes, and the next days after it."""
        return self.settings("warehouse")

    @cached_property
    def first_ingest(self) -> Ran[Ingest]:
        """The first ingest of the main world, measured once."""
        return self.ingest(self.warehouse, BASE_DAY)

    def ingest(self, settings: Settings, day: date) -> Ran[Ingest]:
        """A whole ingest of a day in a fresh process."""
        return self.run(self.show, ingest_day, settings, day)

    def bare_fetch_seconds(self) -> float:
        """The bare loop over the lists as they are now, in a fresh process."""
        return self.run(self.show, bare_fetch, self.api_url, FETCH_THREADS, PAGE_SIZE).result.seconds

    @contextmanager
    def first_ingest_of(self, sizes: Sizes) -> Iterator[Ran[Ingest]]:
        """The first ingest of another world, forgotten on the way out."""
        name = f"growth_{sizes.sessions}"
        self.show(f"starting the mock API: {sizes}")
        with mock_api(sizes) as api_url:
            yield self.ingest(self.settings(name, api_url), BASE_DAY)
        with open_connection(self.postgres) as connection:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(self._prefixed(name))))
        shutil.rmtree(self.folder / name)

    def _database(self, name: str) -> str:
        prefixed = self._prefixed(name)
        with open_connection(self.postgres) as connection:
            there = connection.execute("select from pg_database where datname = %s", [prefixed]).fetchone()
            if there is None:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(prefixed)))
        return self.postgres.replace("/postgres?", f"/{prefixed}?")

    def _prefixed(self, name: str) -> str:
        return f"benchmark_{name}"
