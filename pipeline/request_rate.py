"""One rate limit of requests to the source, for all processes and machines that share the database."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from core.database import Connection, connect, readable_errors
from core.queries import load_query
from core.roles import INGEST, ensure_schema_for_role
from core.settings import Settings

# A reservation need not survive a crash of the database.
_SESSION = {"synchronous_commit": "off"}


class RequestRate(Protocol):
    """Lets requests to the source start at a limited rate."""

    def wait(self) -> None:
        """Wait until the next request may start."""


class SharedRequestRate:
    """Requests start at least 1 / `requests_per_second` seconds apart, whichever process sends them.

    Each request reserves the next free moment in `ops.request_rates`. Threads can share it. `url` has the role ingest.
    """

    def __init__(self, url: str, source: str, requests_per_second: float) -> None:
        self._url = url
        self._values = {"source": source, "interval": timedelta(seconds=1 / requests_per_second)}
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def wait(self) -> None:
        """Wait until the next request may start. Raises DatabaseError."""
        time.sleep(self._reserve())

    def _reserve(self) -> float:
        with self._lock, readable_errors():
            if self._connection is None or self._connection.closed:
                self._connection = connect(self._url, settings=_SESSION)
            row = self._connection.execute(load_query("ops/request_rates.reserve_request"), self._values).fetchone()
        return float(row[0]) if row else 0.0

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()


@contextmanager
def request_rate_of(settings: Settings) -> Iterator[SharedRequestRate | None]:
    """The limit of SOURCE_REQUESTS_PER_SECOND; None if it is off. Raises DatabaseError."""
    if not settings.source_requests_per_second:
        yield None
        return
    rate = SharedRequestRate(
        ensure_schema_for_role(settings, INGEST), settings.source, settings.source_requests_per_second
    )
    try:
        yield rate
    finally:
        rate.close()
