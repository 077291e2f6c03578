"""Who may pass: API keys, what they may do, and how often."""

from __future__ import annotations

import base64
import binascii
import hmac
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from starlette.types import Scope as Request

from core.clock import Clock
from core.errors import DatabaseError
from core.settings import Settings
from serving.database import Database
from serving.keys import ApiKey, Scope
from serving.problems import INVALID_KEY, MISSING_KEY, MISSING_SCOPE, TOO_MANY_REQUESTS, Problem
from serving.request_context import context_of

_REALM = 'realm="moovitamix"'
# Compared with when a key is unknown, so that this takes as long as for a known one.
_DUMMY_HASH = bytes(32)
_MAX_CACHED_KEYS = 10_000

FindApiKey = Callable[[str], Awaitable["StoredApiKey | None"]]


@dataclass(frozen=True, slots=True)
class StoredApiKey:
    """An API key as the database has it."""

    secret_hash: bytes
    scopes: frozenset[str]
    expires_at: datetime | None
    revoked_at: datetime | None

    def is_valid(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def api_key_finder(database: Database) -> FindApiKey:
    """Looks keys up in the database. Raises DatabaseError."""

    async def find(key_id: str) -> StoredApiKey | None:
        rows = await database.rows("serving/api_keys.find_key", {"key_id": key_id})
        for _name, secret_hash, scopes, expires_at, revoked_at in rows:
            return StoredApiKey(bytes(secret_hash), frozenset(scopes), expires_at, revoked_at)
        return None

    return find


@dataclass(slots=True)
class _CachedKey:
    key: StoredApiKey | None
    until: float


class AccessControl:
    """Lets requests pass, or raises the problem that says why not.

    Limits are counted in this process. Keys are remembered for SERVING_KEY_CACHE_SECONDS; while the database is away,
    one that was known keeps what it may do.
    """

    def __init__(self, settings: Settings, find: FindApiKey, clock: Clock) -> None:
        self._find = find
        self._clock = clock
        self._cache_seconds = settings.serving_key_cache_seconds
        self._cached_keys: dict[str, _CachedKey] = {}
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._requests = RateLimitItemPerMinute(settings.serving_requests_per_minute)
        self._feedback = RateLimitItemPerMinute(settings.serving_feedback_per_minute)
        self._refusals = RateLimitItemPerMinute(settings.serving_refusals_per_minute)

    async def authorize(self, request: Request, scope: Scope, *, browser: bool = False) -> str:
        """The id of the key, which may do this, and has not done it too often. Raises Problem, DatabaseError.

        A `browser` may send the key as the password of HTTP Basic. Only addresses that change nothing may allow it: a
        browser sends a password again by itself, whichever page it was made to ask by.
        """
        presented = _presented(request, browser)
        asks = f"{'Basic' if browser else 'Bearer'} {_REALM}"
        if presented is None:
            await self._count_refusal(request)
            how = "send it as: Authorization: Bearer <key>" + (", or as a password" if browser else "")
            raise Problem(MISSING_KEY, how, {"WWW-Authenticate": asks})
        read = ApiKey.read(presented)
        key = await self._key(request, read) if read else None
        expected = key.secret_hash if key else _DUMMY_HASH
        right = hmac.compare_digest(read.secret_hash if read else _DUMMY_HASH, expected)
        if read is None or key is None or not right or not key.is_valid(self._clock()):
            await self._count_refusal(request)
            challenge = asks if browser else f'{asks}, error="invalid_token"'
            raise Problem(INVALID_KEY, "unknown, revoked or expired", {"WWW-Authenticate": challenge})
        context_of(request).key_id = read.key_id
        if scope not in key.scopes:
            challenge = f'Bearer {_REALM}, error="insufficient_scope", scope="{scope}"'
            raise Problem(MISSING_SCOPE, f"it lacks the scope {scope}", {"WWW-Authenticate": challenge})
        if scope == "feedback:write":
            await self._count(self._feedback, "feedback", read.key_id)
        else:
            await self._count(self._requests, "requests", read.key_id)
        return read.key_id

    async def _key(self, request: Request, presented: ApiKey) -> StoredApiKey | None:
        """The key, remembered or looked up. Whoever was refused too often cannot make us look up more."""
        now = time.monotonic()
        remembered = self._cached_keys.get(presented.key_id)
        if remembered is not None and now < remembered.until:
            return remembered.key
        if remembered is None or remembered.key is None:
            await self._refuse_if_too_many(request)
        try:
            key = await self._find(presented.key_id)
        except DatabaseError:
            if remembered is None:
                raise
            return remembered.key
        if len(self._cached_keys) >= _MAX_CACHED_KEYS:
            self._cached_keys.clear()
        self._cached_keys[presented.key_id] = _CachedKey(key, now + self._cache_seconds)
        return key

    async def _count_refusal(self, request: Request) -> None:
        await self._count(self._refusals, "refusals", _address(request))

    async def _refuse_if_too_many(self, request: Request) -> None:
        if not await self._limiter.test(self._refusals, "refusals", _address(request)):
            raise await self._too_many(self._refusals, "refusals", _address(request))

    async def _count(self, limit: RateLimitItemPerMinute, what: str, whose: str) -> None:
        if not await self._limiter.hit(limit, what, whose):
            raise await self._too_many(limit, what, whose)

    async def _too_many(self, limit: RateLimitItemPerMinute, what: str, whose: str) -> Problem:
        """Says when to come again, in the headers of the IETF draft, both its newer and its older form."""
        window = await self._limiter.get_window_stats(limit, what, whose)
        seconds = max(1, math.ceil(window.reset_time - time.time()))
        headers = {
            "Retry-After": str(seconds),
            "RateLimit-Policy": f'"{what}";q={limit.amount};w=60',
            "RateLimit": f'"{what}";r=0;t={seconds}',
            "RateLimit-Limit": str(limit.amount),
            "RateLimit-Remaining": "0",
            "RateLimit-Reset": str(seconds),
        }
        return Problem(TOO_MANY_REQUESTS, f"at most {limit.amount} {what} a minute", headers)


def _presented(request: Request, browser: bool) -> str | None:
    """The key in Authorization, or else in X-API-Key; '' when there is a header without a key."""
    other: str | None = None
    for name, value in request["headers"]:
        if name == b"authorization":
            kind, _, key = value.decode("latin-1").partition(" ")
            if browser and kind.lower() == "basic":
                return _password(key)
            return key.strip() if kind.lower() == "bearer" else ""
        if name == b"x-api-key":
            other = value.decode("latin-1").strip()
    return other


def _password(credentials: str) -> str:
    """What follows the first colon; the user's name may be any."""
    try:
        return base64.b64decode(credentials.strip(), validate=True).decode("latin-1").partition(":")[2].strip()
    except (binascii.Error, ValueError):
        return ""


def _address(request: Request) -> str:
    client = request.get("client")
    return client[0] if client else "unknown"
