"""Rate limits of requests a minute: counted in this process, or in a database that several processes share."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from dataclasses import dataclass

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from core.errors import DatabaseError
from serving.database import Database

_LOGGER = logging.getLogger(__name__)
_SECONDS_BETWEEN_DELETIONS = 60


@dataclass(frozen=True)
class RequestLimit:
    """At most `amount` requests a minute for each client. `name` is the kind of request, such as `feedback`."""

    name: str
    amount: int


@dataclass(frozen=True)
class Remainder:
    """`requests` is how many the client may still send.

    `seconds` is the wait until it may send the requested number; 0 means now.
    """

    requests: int
    seconds: int


class RequestLimits:
    """Counts requests with a sliding window of a minute, by the limit's name and the client.

    With a database, the count is that of all processes that use it. Without it, or while it is unavailable, each
    process counts its own requests.
    """

    def __init__(self, database: Database | None) -> None:
        self._database = database
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._delete_at = 0.0
        self._was_unavailable = False

    async def hit(self, limit: RequestLimit, client: str, count: int = 1) -> bool:
        """Count a request, or `count` items. Return whether the client is within the limit.

        If it is not, nothing is counted.
        """
        if self._database is not None:
            values = {
                "limit_name": limit.name,
                "client": _stored(limit, client),
                "limit": limit.amount,
                "requests": count,
            }
            try:
                await self._delete_old_counts(self._database)
                is_counted = bool(await self._database.rows("serving/request_counts.count_request", values))
            except DatabaseError as error:
                self._note(error)
            else:
                self._was_unavailable = False
                return is_counted
        return await self._own.hit(_item(limit), limit.name, client, cost=count)

    async def remainder(self, limit: RequestLimit, client: str, count: int = 1) -> Remainder:
        """Return how many requests the client may still send, and the seconds until it may send `count`.

        `count` must not exceed the limit.
        """
        if self._database is not None:
            values = {"limit_name": limit.name, "client": _stored(limit, client)}
            try:
                (row,) = await self._database.rows("serving/request_counts.find_requests", values)
            except DatabaseError as error:
                self._note(error)
            else:
                requests, until_next_minute = row
                return _remainder(limit, requests, count, until_next_minute)
        window = await self._own.get_window_stats(_item(limit), limit.name, client)
        now = time.time()
        remainder = _remainder(limit, limit.amount - window.remaining, count, 60 - now % 60)
        if remainder.seconds and count == 1:
            return Remainder(0, max(1, math.ceil(window.reset_time - now)))
        return remainder

    async def _delete_old_counts(self, database: Database) -> None:
        if time.monotonic() >= self._delete_at:
            self._delete_at = time.monotonic() + _SECONDS_BETWEEN_DELETIONS
            await database.rows("serving/request_counts.delete_old_counts", {})

    def _note(self, error: DatabaseError) -> None:
        if not self._was_unavailable:
            self._was_unavailable = True
            _LOGGER.warning("shared rate limits are unavailable, this process counts alone: %s", error)


def _remainder(limit: RequestLimit, requests: int, count: int, until_next_minute: float) -> Remainder:
    """Wait until enough of the `requests` in the window have left it. They leave evenly during the next minute."""
    remaining = max(0, limit.amount - requests)
    if count <= remaining:
        return Remainder(remaining, 0)
    share = 1 - (limit.amount - count + 1) / requests
    return Remainder(remaining, max(1, math.ceil(until_next_minute + 60 * max(0, share))))


def _item(limit: RequestLimit) -> RateLimitItemPerMinute:
    return RateLimitItemPerMinute(limit.amount)


def _stored(limit: RequestLimit, client: str) -> str:
    """A key id as it is; an address, which is personal data, as a hash."""
    return hashlib.sha256(client.encode()).hexdigest() if limit.name == "refusals" else client
