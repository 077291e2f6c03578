"""Readiness: whether the database responds and recommendations are published."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime

from core.errors import DatabaseError
from serving.database import Database

# Health checks need no key, so their result is cached.
_CACHE_SECONDS = 0.25


@dataclass(frozen=True)
class Readiness:
    """The result of a readiness check."""

    database: bool
    publication_id: int | None = None
    live_from: datetime | None = None

    @property
    def ready(self) -> bool:
        """Whether recommendations can be read."""
        return self.database and self.publication_id is not None

    def age_seconds(self, now: datetime) -> float | None:
        """Seconds since the publication went live; 0 if that time is after `now` because a clock was ahead."""
        if self.live_from is None:
            return None
        return round(max(0.0, (now - self.live_from).total_seconds()), 3)


class ReadinessCheck:
    """Check the database and the live publication, at most every quarter of a second."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last = Readiness(database=False)
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def readiness(self) -> Readiness:
        """The current readiness. While the database is unavailable, it has the last known publication."""
        async with self._lock:
            if time.monotonic() >= self._until:
                self._last = await self._check()
                self._until = time.monotonic() + _CACHE_SECONDS
        return self._last

    async def _check(self) -> Readiness:
        try:
            rows = await self._database.rows("serving/find_live_publication", {})
        except DatabaseError:
            return Readiness(False, self._last.publication_id, self._last.live_from)
        publication_id, live_from = rows[0] if rows else (None, None)
        return Readiness(True, publication_id, live_from)
