"""Authorize requests: API keys, their scopes, and rate limits."""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from starlette.types import Scope as Request

from core.api_scopes import Scope
from core.clock import Clock
from core.errors import DatabaseError
from core.settings import Settings
from serving.database import Database
from serving.keys import ApiKey
from serving.problems import INVALID, INVALID_KEY, MISSING_KEY, MISSING_SCOPE, TOO_MANY_REQUESTS, Problem
from serving.request_context import context_of
from serving.request_limits import Remainder, RequestLimit, RequestLimits

_REALM = 'realm="moovitamix"'
# The comparison value for an unknown key, so that the check takes as long as for a known key.
_DUMMY_HASH = bytes(32)
_MAX_CACHED_KEYS = 10_000
# What each limit counts, for the client.
_COUNTED = {
    "requests": "requests",
    "feedback": "answers, reactions and impressions",
    "refusals": "requests without a valid key",
}

FindApiKey = Callable[[str], Awaitable["StoredApiKey | None"]]


@dataclass(frozen=True, slots=True)
class StoredApiKey:
    """An API key as stored in the database."""

    secret_hash: bytes
    scopes: frozenset[str]
    expires_at: datetime | None
    revoked_at: datetime | None

    def is_valid(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def api_key_finder(database: Database) -> FindApiKey:
    """Return a function that finds keys in the database. It raises DatabaseError."""

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
    """Authorize requests, or raise the problem that the client gets.

    Keys are cached for SERVING_KEY_CACHE_SECONDS. While the database is
    unavailable, a cached key stays valid.
    """

    def __init__(
        self, settings: Settings, find: FindApiKey, clock: Clock, limits_database: Database | None = None
    ) -> None:
        self._find = find
        self._clock = clock
        self._cache_seconds = settings.serving_key_cache_seconds
        self._cached_keys: dict[str, _CachedKey] = {}
        self._limits = RequestLimits(limits_database)
        self._requests = RequestLimit("requests", settings.serving_requests_per_minute)
        self._feedback = RequestLimit("feedback", settings.serving_feedback_per_minute)
        self._refusals = RequestLimit("refusals", settings.serving_refusals_per_minute)

    async def authorize(self, request: Request, scope: Scope, *, browser: bool = False) -> str:
        """Return the id of the key if it has the scope and is within its rate limit. Raises Problem, DatabaseError.

        With `browser`, the key may be the password of HTTP Basic. Only read-only paths may allow this, because a
        browser repeats a password for requests that another page triggers.
        """
        sent_key = _sent_key(request, browser)
        challenge = f"{'Basic' if browser else 'Bearer'} {_REALM}"
        if not sent_key:
            await self.count_refusal(request)
            explanation = MISSING_KEY.detail + (", or as a password" if browser else "")
            if sent_key is None:
                raise Problem(MISSING_KEY, explanation, {"WWW-Authenticate": challenge})
            raise Problem(INVALID_KEY, explanation, {"WWW-Authenticate": _invalid(challenge)})
        return await self.authorize_key(request, sent_key, scope, challenge)

    async def authorize_key(self, request: Request, sent_key: str, scope: Scope, challenge: str = "Bearer") -> str:
        """Like `authorize`, for a key that was sent elsewhere than in a header. Raises Problem, DatabaseError."""
        api_key = ApiKey.read(sent_key)
        stored_key = await self._stored_key(request, api_key) if api_key else None
        expected_hash = stored_key.secret_hash if stored_key else _DUMMY_HASH
        is_equal = hmac.compare_digest(api_key.secret_hash if api_key else _DUMMY_HASH, expected_hash)
        if api_key is None or stored_key is None or not is_equal or not stored_key.is_valid(self._clock()):
            await self.count_refusal(request)
            raise Problem(INVALID_KEY, headers={"WWW-Authenticate": _invalid(challenge)})
        context_of(request).key_id = api_key.key_id
        if scope not in stored_key.scopes:
            challenge = f'Bearer {_REALM}, error="insufficient_scope", scope="{scope}"'
            raise Problem(MISSING_SCOPE, f"it lacks the scope {scope}", {"WWW-Authenticate": challenge})
        if scope == "feedback:write":
            await self._count(self._feedback, api_key.key_id)
        else:
            await self._count(self._requests, api_key.key_id)
        return api_key.key_id

    async def count_feedback(self, key_id: str, items: int) -> None:
        """Count the further items of a batch, whose first item `authorize` counted. Raises Problem."""
        if items >= self._feedback.amount:
            raise Problem(INVALID, f"a batch may have at most {self._feedback.amount:,} items, the limit of a minute")
        if items and not await self._limits.hit(self._feedback, key_id, items):
            raise _too_many(self._feedback, await self._limits.remainder(self._feedback, key_id, items + 1))

    async def _stored_key(self, request: Request, api_key: ApiKey) -> StoredApiKey | None:
        """Return the key from the cache or the database. An address with too many refusals gets no database lookup."""
        now = time.monotonic()
        cached = self._cached_keys.get(api_key.key_id)
        if cached is not None and now < cached.until:
            return cached.key
        if cached is None or cached.key is None:
            await self.refuse_if_too_many(request)
        try:
            key = await self._find(api_key.key_id)
        except DatabaseError:
            if cached is None:
                raise
            return cached.key
        if len(self._cached_keys) >= _MAX_CACHED_KEYS:
            self._cached_keys.clear()
        self._cached_keys[api_key.key_id] = _CachedKey(key, now + self._cache_seconds)
        return key

    async def count_refusal(self, request: Request) -> None:
        """Count a sign-in or key that was refused to an address. Raises Problem after too many."""
        await self._count(self._refusals, _address(request))

    async def refuse_if_too_many(self, request: Request) -> None:
        """Raise Problem if the address got too many refusals."""
        remainder = await self._limits.remainder(self._refusals, _address(request))
        if remainder.seconds:
            raise _too_many(self._refusals, remainder)

    async def _count(self, limit: RequestLimit, client: str) -> None:
        if not await self._limits.hit(limit, client):
            raise _too_many(limit, await self._limits.remainder(limit, client))


def _invalid(challenge: str) -> str:
    """The challenge for a key that is not accepted."""
    return f'{challenge}, error="invalid_token"' if challenge.startswith("Bearer") else challenge


def _too_many(limit: RequestLimit, remainder: Remainder) -> Problem:
    """The problem with the time to retry, in the headers of the IETF draft (newer and older form)."""
    seconds = max(1, remainder.seconds)
    headers = {
        "Retry-After": str(seconds),
        "RateLimit-Policy": f'"{limit.name}";q={limit.amount};w=60',
        "RateLimit": f'"{limit.name}";r={remainder.requests};t={seconds}',
        "RateLimit-Limit": str(limit.amount),
        "RateLimit-Remaining": str(remainder.requests),
        "RateLimit-Reset": str(seconds),
    }
    return Problem(TOO_MANY_REQUESTS, f"at most {limit.amount:,} {_COUNTED[limit.name]} a minute", headers)


def _sent_key(request: Request, browser: bool) -> str | None:
    """The key in Authorization, or else in X-API-Key; '' for a header without a key; None without a header."""
    header_key: str | None = None
    for name, value in request["headers"]:
        if name == b"authorization":
            kind, _, key = value.decode("latin-1").partition(" ")
            if browser and kind.lower() == "basic":
                return _password(key)
            return key.strip() if kind.lower() == "bearer" else ""
        if name == b"x-api-key":
            header_key = value.decode("latin-1").strip()
    return header_key


def _password(credentials: str) -> str:
    """The password after the first colon. The user name is ignored."""
    try:
        return base64.b64decode(credentials.strip(), validate=True).decode("latin-1").partition(":")[2].strip()
    except (binascii.Error, ValueError):
        return ""


def _address(request: Request) -> str:
    client = request.get("client")
    return client[0] if client else "unknown"
