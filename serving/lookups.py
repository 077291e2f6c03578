"""Answers by key, with as few statements as there are: what is asked while a statement runs shares the next one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from core.errors import DatabaseError
from serving.database import Database

# Long enough to save much, short enough that the last does not wait for long.
_MOST_IN_ONE = 32


@dataclass(frozen=True, slots=True)
class Found:
    """Whether anything is live, whether what was asked for is known, and the answer as JSON if both."""

    live: bool
    known: bool
    answer: bytes | None


@dataclass(slots=True)
class _Asked:
    of: int
    count: int
    found: asyncio.Future[Found]


@dataclass
class Lookup:
    """One of our SQL files that answers many keys at once.

    Each statement begins after the requests that it answers came in, and sees one snapshot: as fresh and as whole as
    one statement a request, at a fraction of the round trips when many ask.
    """

    database: Database
    name: str
    _waiting: list[_Asked] = field(default_factory=list)
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    async def __call__(self, of: int, count: int) -> Found:
        """The answer for this key, of at most `count` tracks. Raises DatabaseError."""
        asked = _Asked(of, count, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        if self._another_is_worthwhile():
            task = asyncio.create_task(self._answer())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return await asked.found

    def _another_is_worthwhile(self) -> bool:
        """One statement at a time is cheapest; more when it does not keep up. One connection is left for others."""
        running = len(self._running)
        return not running or (len(self._waiting) >= _MOST_IN_ONE and running < self.database.connections - 1)

    async def _answer(self) -> None:
        while batch := self._waiting[:_MOST_IN_ONE]:
            del self._waiting[:_MOST_IN_ONE]
            parameters = {"ids": [one.of for one in batch], "counts": [one.count for one in batch]}
            try:
                rows = await self.database.rows(self.name, parameters)
            except DatabaseError as error:
                batch += self._waiting  # they need not find out one after another
                self._waiting.clear()
                for one in batch:
                    if not one.found.done():
                        one.found.set_exception(DatabaseError(str(error)))
            except BaseException as error:
                for one in batch:
                    if not one.found.done():
                        one.found.set_exception(error)
                raise
            else:
                for one, (live, known, answer) in zip(batch, rows, strict=True):
                    if not one.found.done():
                        one.found.set_result(Found(live, known, answer.encode() if answer else None))
