"""Postgres as serving sees it: a pool that lives through outages, and statements of `sql/serving`, answered in time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from core.database import ensure_database
from core.errors import DatabaseError, StatementRefused
from core.queries import load_query
from core.roles import SERVING, in_role
from core.sessions import UnfitDatabase, configure_connection, connection_keywords, forget_environment
from core.settings import Settings

# An outage is told within this time: what a statement may take, and the wait for a connection.
MAX_SECONDS_PER_QUERY = 1.8
_SECONDS_FOR_A_CONNECTION = 1.0
_SECONDS_WITHOUT_RETRY = 0.3
_SETTINGS = {
    "statement_timeout": "1500",
    "lock_timeout": "1000",
    # Every answer is a few look-ups by key: one plan for good, whatever the statistics of a new publication say.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
_LOGGER = logging.getLogger(__name__)
# Statements that read whole tables are planned as usual.
_FULL_SCAN_SETTINGS = (
    "set transaction isolation level repeatable read, read only;"
    " set local enable_seqscan = on; set local enable_hashjoin = on; set local enable_mergejoin = on;"
    " set local plan_cache_mode = auto"
)
# The other end may vanish without a word.
_NETWORK = {"connect_timeout": 2, "keepalives_idle": 5, "keepalives_interval": 2, "tcp_user_timeout": 5000}

Row = tuple[Any, ...]
Result = TypeVar("Result")
_Read = Callable[[psycopg.AsyncConnection[Row]], Awaitable[Result]]


def serving_url(settings: Settings) -> str:
    """SERVING_DATABASE_URL, or the database of everyone else. Raises DatabaseError."""
    return settings.serving_database_url.get_secret_value() or ensure_database(settings)


class Database:
    """A pool of connections in the role of serving. Open it in the event loop that uses it."""

    def __init__(self, url: str, connections: int) -> None:
        self.connections = connections
        self._unavailable_until = 0.0
        self._connection_error = ""  # the last connection that was tried failed
        self.unavailable_since: float | None = None  # time.monotonic() of the first failure since the last answer
        url = in_role(url, SERVING)
        forget_environment()
        self._pool = AsyncConnectionPool(
            url,
            connection_class=self._connection_class(url),
            kwargs={
                "autocommit": True,
                "prepare_threshold": 0,
                "application_name": "moovitamix serving",
                **connection_keywords(url),
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
        """What a query returns. Raises DatabaseError, after SECONDS_TO_ANSWER at the latest.

        The work is a task of its own: a server that hangs also hangs its cancellation, which nobody waits for.
        For a moment after it was found away, that is the answer: nobody waits for the same twice in a row.
        """
        text = load_query(name)

        async def read(connection: psycopg.AsyncConnection[Row]) -> Sequence[Row]:
            return await (await connection.execute(text, parameters)).fetchall()

        try:
            return await self._within_deadline(read)
        except TimeoutError:
            raise self._unavailable("no answer in time") from None

    async def snapshot(self, names: Sequence[str], parameters: Mapping[str, Any]) -> dict[str, Sequence[Row]]:
        """What each of these queries returns, all of one moment. Raises DatabaseError, as soon as `rows`.

        That it takes too long is no sign of an outage: whoever asks for a few rows is not refused for it.
        """
        texts = {name: load_query(name) for name in names}

        async def read(connection: psycopg.AsyncConnection[Row]) -> dict[str, Sequence[Row]]:
            async with connection.transaction():
                await connection.execute(_FULL_SCAN_SETTINGS, prepare=False)
                found: dict[str, Sequence[Row]] = {}
                for name, text in texts.items():
                    found[name] = await (await connection.execute(text, parameters, prepare=False)).fetchall()
                return found

        try:
            return await self._within_deadline(read)
        except TimeoutError:
            raise DatabaseError("it took too long to read") from None

    async def _within_deadline(self, read: _Read[Result]) -> Result:
        """Raises TimeoutError, DatabaseError."""
        if time.monotonic() < self._unavailable_until:
            raise DatabaseError("it was away a moment ago")
        work = asyncio.create_task(self._with_connection(read))
        done, _ = await asyncio.wait((work,), timeout=MAX_SECONDS_PER_QUERY)
        if not done:
            work.add_done_callback(_consume_result)
            work.cancel()
            raise TimeoutError
        return work.result()

    async def _with_connection(self, read: _Read[Result]) -> Result:
        """Tried again once when a partition was dropped at that moment, and for each connection that was cut."""
        for again in range(self.connections + 1):
            try:
                async with self._pool.connection() as connection:
                    result = await read(connection)
                    self.unavailable_since = None
                    return result
            except (PoolTimeout, PoolClosed) as error:
                raise self._unavailable(f"no connection{self._connection_error}") from error
            except psycopg.errors.QueryCanceled as error:
                raise DatabaseError("a statement took too long") from error
            except psycopg.Error as error:
                if again and not connection.closed:
                    kind = f"{type(error).__name__} {error.sqlstate or ''}".rstrip()
                    raise StatementRefused(f"a statement failed: {kind}") from error
        raise DatabaseError("all connections were cut")

    def _connection_class(self, url: str) -> type[psycopg.AsyncConnection[Row]]:
        """Connections whose session is ours, and that leave behind why they failed: a wrong password is not an outage
        that ends by itself."""
        database = self

        class Connection(psycopg.AsyncConnection[Row]):
            @classmethod
            async def connect(cls, *arguments: Any, **options: Any) -> Any:
                try:
                    made = await super().connect(*arguments, **options)
                    await configure_connection(made, url, _SETTINGS)
                except psycopg.Error as error:
                    if isinstance(error, UnfitDatabase) and not database._connection_error:
                        _LOGGER.error("%s", error)  # no waiting mends it
                    database._connection_error = f": {' '.join(str(error).split())}"
                    database.unavailable_since = database.unavailable_since or time.monotonic()
                    raise
                database._connection_error = ""
                return made

        return Connection

    def _unavailable(self, why: str) -> DatabaseError:
        self._unavailable_until = time.monotonic() + _SECONDS_WITHOUT_RETRY
        self.unavailable_since = self.unavailable_since or time.monotonic()
        return DatabaseError(why)


def _consume_result(work: asyncio.Task[Any]) -> None:
    """Take note of how it ended, so that nobody complains that no one did."""
    if not work.cancelled():
        work.exception()
