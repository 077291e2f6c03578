"""Records which variant of an experiment each user got, and whether a request of theirs failed."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import datetime

from core.clock import Clock
from core.errors import DatabaseError
from serving.database import Database

_FLUSH_SECONDS = 0.5
_RETRY_SECONDS = 5.0
_MAX_ROWS = 1_000
_MAX_WAITING = 100_000
_MAX_REMEMBERED = 1_000_000
_LOGGER = logging.getLogger(__name__)


class ExposureLog:
    """Collects exposures, and stores new ones every half second, so that no response waits for it.

    If the process is killed, exposures of its last half second are lost, equally for both variants. The next response
    to these users records them. While the database is unavailable, at most 100,000 wait.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._experiment_id = 0
        self._remembered: set[int] = set()
        self._waiting: dict[int, tuple[bool, datetime]] = {}
        self._failed: dict[int, datetime] = {}
        self._task: asyncio.Task[None] | None = None

    def record(self, experiment_id: int, user_id: int, is_treatment: bool) -> None:
        """Record that a user got a variant. Only the first time is stored."""
        if experiment_id != self._experiment_id:
            self._experiment_id, self._remembered, self._waiting, self._failed = experiment_id, set(), {}, {}
        if user_id in self._remembered or len(self._waiting) >= _MAX_WAITING:
            return
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered = set()  # a user who returns is already in the database
        self._remembered.add(user_id)
        self._waiting[user_id] = is_treatment, self._clock()
        self._start_to_store()

    def record_failure(self, user_id: int) -> None:
        """Record that a request of a user failed. It counts if they got a variant of a running experiment before."""
        if self._experiment_id and len(self._failed) < _MAX_WAITING:
            self._failed.setdefault(user_id, self._clock())
            self._start_to_store()

    def _start_to_store(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._store_all())

    async def close(self) -> None:
        """Store what waits, once."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        with suppress(DatabaseError):
            while self._waiting or self._failed:
                await self._store()

    async def _store_all(self) -> None:
        while self._waiting or self._failed:
            await asyncio.sleep(_FLUSH_SECONDS)
            try:
                await self._store()
            except DatabaseError as error:
                _LOGGER.warning("exposures of experiment %d wait: %s", self._experiment_id, error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _store(self) -> None:
        experiment_id, users = self._experiment_id, list(self._waiting)[:_MAX_ROWS]
        exposures = [self._waiting[user_id] for user_id in users]
        values = {
            "experiment_id": experiment_id,
            "user_ids": users,
            "are_treatment": [is_treatment for is_treatment, _ in exposures],
            "first_at": [first_at for _, first_at in exposures],
        }
        failed = list(self._failed)[:_MAX_ROWS]
        failures = {
            "experiment_id": experiment_id,
            "user_ids": failed,
            "failed_at": [self._failed[user_id] for user_id in failed],
        }
        if users:
            await self._database.store("serving/record_exposures", values)
        if failed:
            await self._database.store("serving/record_failures", failures)
        if experiment_id == self._experiment_id:
            for user_id in users:
                self._waiting.pop(user_id, None)
            for user_id in failed:
                self._failed.pop(user_id, None)
