"""Baselines: a bare loop that fetches pages, and one COPY of rows into an unlogged table of the same definition."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
from psycopg import sql

from benchmarks.processes import Show
from core.database import Connection
from core.endpoints import ENDPOINTS, Endpoint
from pipeline.endpoint_tables import STAGING, create_rows_table

_RAW_TABLE = sql.Identifier(STAGING, "raw_copy")
_CHUNK = 1 << 20
_SECONDS_BETWEEN_PROGRESS = 0.5


def page_requests(api_url: str, page_size: int) -> list[tuple[str, dict[str, int]]]:
    """URL and parameters of every page of the three snapshots."""
    pages = []
    for endpoint in ENDPOINTS:
        url = f"{api_url}/{endpoint}"
        count = requests.get(url, params={"page": 1, "size": page_size}, timeout=60).json()["pages"]
        pages += [(url, {"page": number, "size": page_size}) for number in range(1, count + 1)]
    return pages


def bare_fetch(show: Show, api_url: str, threads: int, page_size: int) -> None:
    """Read every page of the three snapshots with plain `requests`, and discard the bodies."""
    pages, fetched, stop = page_requests(api_url, page_size), [0] * threads, threading.Event()

    def fetch_share(thread: int) -> None:
        with requests.Session() as session:
            for url, parameters in pages[thread::threads]:
                session.get(url, params=parameters, timeout=60).raise_for_status()
                fetched[thread] += 1

    def show_progress() -> None:
        while not stop.wait(_SECONDS_BETWEEN_PROGRESS):
            show(f"bare loop: {sum(fetched):,} of {len(pages):,} pages")

    reporter = threading.Thread(target=show_progress, daemon=True)
    reporter.start()
    try:
        with ThreadPoolExecutor(threads) as executor:
            list(executor.map(fetch_share, range(threads)))
    finally:
        stop.set()
        reporter.join()


def unload(connection: Connection, table: str, file: Path) -> None:
    """Write the rows of a staged table to a file, as CSV."""
    query = sql.SQL("copy {} to stdout (format csv)").format(sql.Identifier(STAGING, table))
    with connection.cursor() as cursor, file.open("wb") as target, cursor.copy(query) as copy:
        for data in copy:
            target.write(data)


def raw_copy(connection: Connection, endpoint: Endpoint, file: Path) -> None:
    """Create the bare table and fill it from the file, in one transaction."""
    query = sql.SQL("copy {} from stdin (format csv)").format(_RAW_TABLE)
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(create_rows_table(endpoint, "raw_copy"))
        with cursor.copy(query) as copy, file.open("rb") as source:
            while data := source.read(_CHUNK):
                copy.write(data)


def drop_raw_copy(connection: Connection) -> None:
    """Drop the bare table, if it exists."""
    connection.execute(sql.SQL("drop table if exists {}").format(_RAW_TABLE))
