"""Postgres as serving sees it: a pool that lives through outages, and statements of `sql/serving`, answered in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from core.database import database_url, statement
from core.errors import DatabaseError
from core.settings import Settings

ROLE = "moovitamix_serving"
# An outage is told within this time: what a statement may take, and the wait for a connection.
SECONDS_TO_ANSWER = 1.8
_SECONDS_FOR_A_CONNECTION = 1.0
_SECONDS_AWAY = 0.3
_SESSION_OPTIONS = (
    f"-c role={ROLE} -c timezone=UTC -c statement_timeout=1500 -c lock_timeout=1000 -c jit=off"
    # Every answer is a few look-ups by key: one plan for good, whatever the statistics of a new publication say.
    " -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off"
)
# The other end may vanish without a word.
_NETWORK = {"connect_timeout": 2, "keepalives_idle": 5, "keepalives_interval": 2, "tcp_user_timeout": 5000}

Row = tuple[Any, ...]


def serving_url(settings: Settings) -> str:
    """SERVING_DATABASE_URL, or the database of everyone else. Raises DatabaseError."""
    return settings.serving_database_url.get_secret_value() or database_url(settings)


class Database:
    """A pool of connections in the role of serving. Open it in the event loop that uses it."""

    def __init__(self, url: str, connections: int) -> None:
        self.connections = connections
        self._away_until = 0.0
        self._why_not = ""  # the last connection that was tried failed
        self._pool = AsyncConnectionPool(
            url,
            connection_class=self._noting_failures(),
            kwargs={
                "autocommit": True,
                "prepare_threshold": 0,
                "application_name": "moovitamix serving",
                "options": _SESSION_OPTIONS,
                **_NETWORK,
            },
            min_size=connections,
            max_size=connections,
            open=False,
            name="serving",
            timeout=_SECONDS_FOR_A_CONNECTION,
            # Given up early and tried anew by the next request: the pauses between tries never grow long.
            reconnect_timeout=1.5,
        )

    async def open(self) -> None:
        """Start connecting; nothing waits for it, the database may be down."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close(timeout=2)

    async def rows(self, name: str, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """What `sql/serving/<name>.sql` returns. Raises DatabaseError, after SECONDS_TO_ANSWER at the latest.

        The work is a task of its own: a server that hangs also hangs its cancellation, which nobody waits for.
        For a moment after it was found away, that is the answer: nobody waits for the same twice in a row.
        """
        if time.monotonic() < self._away_until:
            raise DatabaseError("it was away a moment ago")
        work = asyncio.create_task(self._rows(statement(f"serving/{name}"), parameters))
        done, _ = await asyncio.wait((work,), timeout=SECONDS_TO_ANSWER)
        if not done:
            work.add_done_callback(_forget)
            work.cancel()
            raise self._away("no answer in time")
        return work.result()

    async def _rows(self, text: str, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """Tried again once when a partition was dropped at that moment, and for each connection that was cut."""
        for again in range(self.connections + 1):
            try:
                async with self._pool.connection() as connection:
                    cursor = await connection.execute(text, parameters)
                    return await cursor.fetchall()
            except (PoolTimeout, PoolClosed) as error:
                raise self._away(f"no connection{self._why_not}") from error
            except psycopg.errors.QueryCanceled as error:
                raise DatabaseError("a statement took too long") from error
            except psycopg.Error as error:
                if again and not connection.closed:
                    kind = f"{type(error).__name__} {error.sqlstate or ''}".rstrip()
                    raise DatabaseError(f"a statement failed: {kind}") from error
        raise DatabaseError("all connections were cut")

    def _noting_failures(self) -> type[psycopg.AsyncConnection[Row]]:
        """Connections that leave behind why they failed: a wrong password is not an outage that ends by itself."""
        database = self

        class Connection(psycopg.AsyncConnection[Row]):
            @classmethod
            async def connect(cls, *arguments: Any, **options: Any) -> Any:
                try:
                    made = await super().connect(*arguments, **options)
                except psycopg.Error as error:
                    database._why_not = f": {' '.join(str(error).split())}"
                    raise
                database._why_not = ""
                return made

        return Connection

    def _away(self, why: str) -> DatabaseError:
        self._away_until = time.monotonic() + _SECONDS_AWAY
        return DatabaseError(why)


def _forget(work: asyncio.Task[Any]) -> None:
    """Take note of how it ended, so that nobody complains that no one did."""
    if not work.cancelled():
        work.exception()
