"""Whether serving lives, and whether it has something to serve."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime

from core.errors import DatabaseError
from serving.database import Database

# Whoever asks in this time gets the same: anyone may ask without a key.
_SECONDS_TO_REMEMBER = 0.25


@dataclass(frozen=True)
class Readiness:
    """What was found when it was looked for."""

    database: bool
    publication_id: int | None = None
    live_from: datetime | None = None

    @property
    def ready(self) -> bool:
        """Whether recommendations can be read."""
        return self.database and self.publication_id is not None

    def age_seconds(self, now: datetime) -> float | None:
        """Since the publication went live; 0 if that was in the future of `now`, after a clock that was ahead."""
        if self.live_from is None:
            return None
        return round(max(0.0, (now - self.live_from).total_seconds()), 3)


class ReadinessCheck:
    """Looks after the database and the publication, at most every quarter of a second."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last = Readiness(database=False)
        self._until = 0.0
        self._looking = asyncio.Lock()

    async def look(self) -> Readiness:
        """How it is. While the database is away, the publication is the last one seen."""
        async with self._looking:
            if time.monotonic() >= self._until:
                self._last = await self._look()
                self._until = time.monotonic() + _SECONDS_TO_REMEMBER
        return self._last

    async def _look(self) -> Readiness:
        try:
            rows = await self._database.rows("serving/find_live_publication", {})
        except DatabaseError:
            return Readiness(False, self._last.publication_id, self._last.live_from)
        publication_id, live_from = rows[0] if rows else (None, None)
        return Readiness(True, publication_id, live_from)
