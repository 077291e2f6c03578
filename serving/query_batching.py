"""Batch lookups by key: requests that arrive while a query runs share the next query."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.errors import DatabaseError
from serving.database import Database

# Large enough to save round trips, small enough to keep the wait short.
_MAX_BATCH_SIZE = 32


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The result for one key: `response` is JSON if a publication is live and the key exists, otherwise None.

    `expired` is why a cursor cannot be continued, None if it can. `experiment_id` is the experiment whose variant
    the user got, None if none is served.
    """

    live: bool
    exists: bool
    response: bytes | None
    expired: str | None = None
    experiment_id: int | None = None
    is_treatment: bool = False


@dataclass(slots=True)
class _PendingRequest:
    key: int
    count: int
    options: str | None
    result: asyncio.Future[QueryResult]


@dataclass
class BatchedQuery:
    """A query of `sql/serving` that answers many keys at once.

    A query starts after the requests of its batch arrived, and sees one snapshot. Results are as fresh and consistent
    as with one query per request, with fewer round trips.
    """

    database: Database
    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    _pending: list[_PendingRequest] = field(default_factory=list)
    _running: int = 0
    _tasks: set[asyncio.Task[None]] = field(
        default_factory=set
    )  # references that protect tasks from garbage collection

    async def __call__(self, key: int, count: int, options: str | None = None) -> QueryResult:
        """Return the result for a key, with at most `count` tracks. `options` is JSON text. Raises DatabaseError."""
        request = _PendingRequest(key, count, options, asyncio.get_running_loop().create_future())
        self._pending.append(request)
        if self._should_start_query():
            self._running += 1
            task = asyncio.create_task(self._answer_pending())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await request.result

    def _should_start_query(self) -> bool:
        """Whether no query runs, or a full batch waits and a connection besides the last is free."""
        has_full_batch = len(self._pending) >= _MAX_BATCH_SIZE
        return not self._running or (has_full_batch and self._running < self.database.connections - 1)

    async def _answer_pending(self) -> None:
        try:
            while batch := self._pending[:_MAX_BATCH_SIZE]:
                del self._pending[:_MAX_BATCH_SIZE]
                await self._answer(batch)
        finally:
            self._running -= 1  # before any other task runs, so that the next request starts a query

    async def _answer(self, batch: list[_PendingRequest]) -> None:
        parameters = {
            "ids": [request.key for request in batch],
            "counts": [request.count for request in batch],
            "options": [request.options for request in batch],
            **self.parameters,
        }
        try:
            rows = await self.database.rows(self.name, parameters)
            results = [
                QueryResult(live, exists, text.encode() if text else None, *optional_columns)
                for _, (live, exists, text, *optional_columns) in zip(batch, rows, strict=True)
            ]
        except Exception as error:
            # Fail all pending requests too, so that they do not wait for the same failure.
            for request in (*batch, *self._pending):
                if not request.result.done():
                    is_outage = isinstance(error, DatabaseError)
                    request.result.set_exception(DatabaseError(str(error)) if is_outage else error)
            self._pending.clear()
        else:
            for request, result in zip(batch, results, strict=True):
                if not request.result.done():
                    request.result.set_result(result)
