"""Answers by key, with as few statements as there are: what is asked while a statement runs shares the next one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from core.errors import DatabaseError
from serving.database import Database

# Long enough to save much, short enough that the last does not wait for long.
_MAX_BATCH_SIZE = 32


@dataclass(frozen=True, slots=True)
class QueryResult:
    """Whether anything is live, whether what was asked for is known, and the answer as JSON if both."""

    live: bool
    known: bool
    response: bytes | None


@dataclass(slots=True)
class _PendingRequest:
    of: int
    count: int
    found: asyncio.Future[QueryResult]


@dataclass
class BatchedQuery:
    """One of our SQL files that answers many keys at once.

    Each statement begins after the requests that it answers came in, and sees one snapshot: as fresh and as whole as
    one statement a request, at a fraction of the round trips when many ask.
    """

    database: Database
    name: str
    _waiting: list[_PendingRequest] = field(default_factory=list)
    _running: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)  # kept, or else they might be collected

    async def __call__(self, of: int, count: int) -> QueryResult:
        """The answer for this key, of at most `count` tracks. Raises DatabaseError."""
        asked = _PendingRequest(of, count, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        if self._another_is_worthwhile():
            self._running += 1
            task = asyncio.create_task(self._answer_all())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await asked.found

    def _another_is_worthwhile(self) -> bool:
        """One statement at a time is cheapest; more when it does not keep up. One connection is left for others."""
        behind = len(self._waiting) >= _MAX_BATCH_SIZE and self._running < self.database.connections - 1
        return not self._running or behind

    async def _answer_all(self) -> None:
        try:
            while batch := self._waiting[:_MAX_BATCH_SIZE]:
                del self._waiting[:_MAX_BATCH_SIZE]
                await self._answer(batch)
        finally:
            self._running -= 1  # at once: whoever asks next must find that nobody is at work

    async def _answer(self, batch: list[_PendingRequest]) -> None:
        parameters = {"ids": [one.of for one in batch], "counts": [one.count for one in batch]}
        try:
            rows = await self.database.rows(self.name, parameters)
        except Exception as error:
            # Whoever waits behind them need not find out one after another.
            for one in (*batch, *self._waiting):
                if not one.found.done():
                    one.found.set_exception(DatabaseError(str(error)) if isinstance(error, DatabaseError) else error)
            self._waiting.clear()
        else:
            for one, (live, known, response) in zip(batch, rows, strict=True):
                if not one.found.done():
                    one.found.set_result(QueryResult(live, known, response.encode() if response else None))
