"""Run the mock API in its own process, land its snapshots, and run two baselines: a bare fetch and a raw COPY."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import requests
from psycopg import sql

from benchmarks.minimal_loader import FETCH_THREADS, PAGE_SIZE
from benchmarks.processes import Show, run_module
from core.clock import utc_now
from core.database import Connection
from core.endpoints import ENDPOINTS, Endpoint
from core.settings import Settings
from pipeline import landing
from pipeline.batches import Batch
from pipeline.client import ApiClient
from pipeline.endpoint_tables import STAGING, create_rows_table
from pipeline.landing import Landing

BASE_DAY = date(2026, 11, 22)
# About 1 % of the sessions change each day. This includes the sessions of removed users and tracks.
_DAILY_CHANGES = ("--updates", "0.0045", "--new-sessions", "0.0045", "--removals", "0.0003", "--growth", "0.001")
_READY_PREFIX = "mock API ready: "
_RAW_TABLE = sql.Identifier(STAGING, "raw_copy")
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Sizes:
    """Rows of each snapshot on the base day."""

    users: int
    tracks: int
    sessions: int

    def with_sessions(self, sessions: int) -> Sizes:
        """Sizes with this number of sessions. Users and tracks are scaled in proportion."""
        users, tracks = (max(1, count * sessions // self.sessions) for count in (self.users, self.tracks))
        return Sizes(users, tracks, sessions)

    def __str__(self) -> str:
        return f"{self.users:,} users, {self.tracks:,} tracks, {self.sessions:,} sessions"


@contextmanager
def mock_api(sizes: Sizes) -> Iterator[str]:
    """Run a mock API of these sizes, on the base day and a free port. Yields its URL."""
    counts = ("--users", str(sizes.users), "--tracks", str(sizes.tracks), "--sessions", str(sizes.sessions))
    with run_mock_server("--port", "0", "--day", str(BASE_DAY), *counts, *_DAILY_CHANGES) as api_url:
        yield api_url


@contextmanager
def run_mock_server(*options: str) -> Iterator[str]:
    """Run a mock API with these options. Yields its URL. Raises RuntimeError if it does not start."""
    with run_module("mock_server", *options, environment={}, stdout=subprocess.PIPE) as process:
        line = process.stdout.readline()
        if not line.startswith(_READY_PREFIX):
            raise RuntimeError(f"the mock API did not start: {line.strip() or 'it printed nothing'}")
        yield line.removeprefix(_READY_PREFIX).strip()


def move_to(api_url: str, day: date) -> None:
    """Set the simulated day of the mock API. Returns when its snapshots are ready."""
    requests.post(f"{api_url}/_control/day", json={"day": str(day)}, timeout=300).raise_for_status()


def land_batch(show: Show, batch: Batch, settings: Settings) -> Landing:
    """Land the snapshot of a batch, and show the progress."""

    def progress(landed: int, pages: int) -> None:
        show(f"landing {batch.batch_id}: {landed:,} of {pages:,} pages")

    return landing.land_snapshot(ApiClient(settings), batch, settings, clock=utc_now, progress=progress)


def page_requests(api_url: str) -> list[tuple[str, dict[str, int]]]:
    """Return the URL and the parameters of every page of the three snapshots."""
    pages = []
    for endpoint in ENDPOINTS:
        url = f"{api_url}/{endpoint}"
        count = requests.get(url, params={"page": 1, "size": PAGE_SIZE}, timeout=60).json()["pages"]
        pages += [(url, {"page": number, "size": PAGE_SIZE}) for number in range(1, count + 1)]
    return pages


def bare_fetch(show: Show, api_url: str) -> None:
    """Read every page of the three snapshots with plain `requests`, and discard the bodies."""
    pages = page_requests(api_url)
    show(f"bare loop over {len(pages):,} pages")

    def fetch_share(thread: int) -> None:
        with requests.Session() as session:
            for url, parameters in pages[thread::FETCH_THREADS]:
                session.get(url, params=parameters, timeout=60).raise_for_status()

    with ThreadPoolExecutor(FETCH_THREADS) as executor:
        list(executor.map(fetch_share, range(FETCH_THREADS)))


def unload(connection: Connection, table: str, file: Path) -> None:
    """Export the rows of a staging table to a CSV file."""
    query = sql.SQL("copy {} to stdout (format csv)").format(sql.Identifier(STAGING, table))
    with connection.cursor() as cursor, file.open("wb") as target, cursor.copy(query) as copy:
        target.writelines(copy)


def raw_copy(connection: Connection, endpoint: Endpoint, file: Path) -> None:
    """Create the table of the raw COPY and fill it from the CSV file, in one transaction."""
    query = sql.SQL("copy {} from stdin (format csv)").format(_RAW_TABLE)
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(create_rows_table(endpoint, "raw_copy"))
        with cursor.copy(query) as copy, file.open("rb") as source:
            while data := source.read(_CHUNK_BYTES):
                copy.write(data)


def drop_raw_copy(connection: Connection) -> None:
    """Drop the table of the raw COPY, if it exists."""
    connection.execute(sql.SQL("drop table if exists {}").format(_RAW_TABLE))
