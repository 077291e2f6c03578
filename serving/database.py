"""The connection pool of the API. It survives outages, and every query has a deadline."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import psycopg
from psycopg.rows import AsyncRowFactory, dict_row, tuple_row
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from core.database import ensure_database
from core.errors import DatabaseError, StatementRefused
from core.queries import load_query
from core.roles import SERVING, in_role
from core.sessions import UnfitDatabase, configure_connection, connection_keywords, forget_environment
from core.settings import Settings

# The deadline of a query, including the wait for a connection. An outage is reported within this time.
MAX_SECONDS_PER_QUERY = 1.8
_CONNECTION_WAIT_SECONDS = 1.0
_OUTAGE_CACHE_SECONDS = 0.3
_SETTINGS = {
    "statement_timeout": "1500",
    "lock_timeout": "1000",
    # Every query is a few lookups by key. A fixed plan does not depend on the statistics of a new publication.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
_LOGGER = logging.getLogger(__name__)
# Queries that read whole tables use the normal planner settings.
_FULL_SCAN_SETTINGS = (
    "set transaction isolation level repeatable read, read only;"
    " set local enable_seqscan = on; set local enable_hashjoin = on; set local enable_mergejoin = on;"
    " set local plan_cache_mode = auto"
)
# Detect a server that disappears without closing the connection.
_NETWORK = {"connect_timeout": 2, "keepalives_idle": 5, "keepalives_interval": 2, "tcp_user_timeout": 5000}

Row = tuple[Any, ...]
Result = TypeVar("Result")
Record = TypeVar("Record")
_Read = Callable[[psycopg.AsyncConnection[Row]], Awaitable[Result]]


def ensure_serving_database(settings: Settings) -> str:
    """SERVING_DATABASE_URL, or the project database, which is started if needed. Raises DatabaseError."""
    return settings.serving_database_url.get_secret_value() or ensure_database(settings)


class Database:
    """A pool of connections in the role of serving. Open it in the event loop that uses it."""

    def __init__(self, url: str, connections: int) -> None:
        self.connections = connections
        self._unavailable_until = 0.0
        self._connection_error = ""  # why the last connection attempt failed
        self.unavailable_since: float | None = None  # time.monotonic() of the first failure after the last success
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
            timeout=_CONNECTION_WAIT_SECONDS,
            # Give up early; the next request tries again, so that pauses between attempts stay short.
            reconnect_timeout=1.5,
        )

    async def open(self) -> None:
        """Start to connect in the background. The database may be unavailable."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close(timeout=2)

    async def rows(self, name: str, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """Return the rows of a query. Raises DatabaseError within MAX_SECONDS_PER_QUERY.

        The query runs in its own task, because cancelling a query can hang with the server. For a moment after a
        failure, further queries fail at once instead of waiting again.
        """
        text = load_query(name)

        async def read(connection: psycopg.AsyncConnection[Row]) -> Sequence[Row]:
            return await (await connection.execute(text, parameters)).fetchall()

        try:
            return await self._within_deadline(read)
        except TimeoutError:
            raise self._unavailable("no response in time") from None

    async def store(self, name: str, parameters: Mapping[str, Any]) -> None:
        """Run a statement that no response waits for. Raises DatabaseError within the same deadline.

        A timeout does not count as an outage, so that queries still run while another transaction holds a lock.
        """
        text = load_query(name)

        async def write(connection: psycopg.AsyncConnection[Row]) -> None:
            await connection.execute(text, parameters)

        try:
            await self._within_deadline(write)
        except TimeoutError:
            raise DatabaseError("storing took too long") from None

    async def snapshot(self, names: Sequence[str], parameters: Mapping[str, Any]) -> dict[str, Sequence[Row]]:
        """Return the rows of several queries from one database snapshot. Raises DatabaseError within the same deadline.

        A timeout does not count as an outage, so that small queries still run.
        """
        return await self._snapshot({name: name for name in names}, parameters, tuple_row)

    async def records(
        self, queries: Mapping[str, str], parameters: Mapping[str, Any]
    ) -> dict[str, Sequence[dict[str, Any]]]:
        """Return the rows of several queries from one database snapshot, like `snapshot`, as dictionaries by column.

        `queries` has a key for each result, and the name of its query. Raises DatabaseError.
        """
        return await self._snapshot(queries, parameters, dict_row)

    async def _snapshot(
        self, queries: Mapping[str, str], parameters: Mapping[str, Any], row_factory: AsyncRowFactory[Record]
    ) -> dict[str, Sequence[Record]]:
        texts = {key: load_query(name) for key, name in queries.items()}

        async def read(connection: psycopg.AsyncConnection[Row]) -> dict[str, Sequence[Record]]:
            async with connection.transaction(), connection.cursor(row_factory=row_factory) as cursor:
                await cursor.execute(_FULL_SCAN_SETTINGS, prepare=False)
                rows: dict[str, Sequence[Record]] = {}
                for key, text in texts.items():
                    rows[key] = await (await cursor.execute(text, parameters, prepare=False)).fetchall()
                return rows

        try:
            return await self._within_deadline(read)
        except TimeoutError:
            raise DatabaseError("reading took too long") from None

    async def _within_deadline(self, read: _Read[Result]) -> Result:
        """Run a read in its own task. Raises TimeoutError, DatabaseError."""
        if time.monotonic() < self._unavailable_until:
            raise DatabaseError("it was unavailable a moment ago")
        work = asyncio.create_task(self._with_connection(read))
        done, _ = await asyncio.wait((work,), timeout=MAX_SECONDS_PER_QUERY)
        if not done:
            work.add_done_callback(_consume_result)
            work.cancel()
            raise TimeoutError
        return work.result()

    async def _with_connection(self, read: _Read[Result]) -> Result:
        """Run a read. Retry once after a dropped partition, and once for each broken connection."""
        for attempt in range(self.connections + 1):
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
                if attempt and not connection.closed:
                    kind = f"{type(error).__name__} {error.sqlstate or ''}".rstrip()
                    raise StatementRefused(f"a statement failed: {kind}") from error
        raise DatabaseError("all connections were closed")

    def _connection_class(self, url: str) -> type[psycopg.AsyncConnection[Row]]:
        """A connection class that configures its session, and records why a connection failed."""
        database = self

        class Connection(psycopg.AsyncConnection[Row]):
            @classmethod
            async def connect(cls, *arguments: Any, **options: Any) -> Any:
                try:
                    connection = await super().connect(*arguments, **options)
                    await configure_connection(connection, url, _SETTINGS)
                except psycopg.Error as error:
                    if isinstance(error, UnfitDatabase) and not database._connection_error:
                        _LOGGER.error("%s", error)  # it does not recover on its own
                    database._connection_error = f": {' '.join(str(error).split())}"
                    database.unavailable_since = database.unavailable_since or time.monotonic()
                    raise
                database._connection_error = ""
                return connection

        return Connection

    def _unavailable(self, reason: str) -> DatabaseError:
        self._unavailable_until = time.monotonic() + _OUTAGE_CACHE_SECONDS
        self.unavailable_since = self.unavailable_since or time.monotonic()
        return DatabaseError(reason)


def _consume_result(work: asyncio.Task[Any]) -> None:
    """Retrieve the exception of an abandoned task, so that asyncio does not log it."""
    if not work.cancelled():
        work.exception()
