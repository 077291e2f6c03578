"""Access control, with keys in a dictionary instead of a database."""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.api_scopes import Scope
from core.errors import DatabaseError
from core.settings import Settings
from serving.access_control import AccessControl, StoredApiKey
from serving.keys import ApiKey
from serving.problems import Problem
from serving.request_context import context_of

NOW = datetime(2026, 11, 22, tzinfo=UTC)
READ: Scope = "recommendations:read"


@dataclass
class KeyTable:
    """Stands in for the database: keys, lookups, and simulated outages."""

    keys: dict[str, StoredApiKey] = field(default_factory=dict)
    lookups: list[str] = field(default_factory=list)
    unavailable: bool = False

    async def find(self, key_id: str) -> StoredApiKey | None:
        self.lookups.append(key_id)
        if self.unavailable:
            raise DatabaseError("unavailable")
        return self.keys.get(key_id)

    def add(self, *scopes: Scope, expires_at: datetime | None = None, revoked_at: datetime | None = None) -> str:
        key = ApiKey.new()
        self.keys[key.key_id] = StoredApiKey(key.secret_hash, frozenset(scopes), expires_at, revoked_at)
        return key.text


def request(key: str | None, address: str = "10.0.0.1") -> dict[str, Any]:
    headers = [] if key is None else [(b"authorization", f"Bearer {key}".encode())]
    return {"type": "http", "headers": headers, "client": (address, 1)}


def access_control(table: KeyTable, **settings: float) -> AccessControl:
    values = {f"serving_{name}": value for name, value in settings.items()}
    return AccessControl(Settings.model_validate(values), table.find, clock=lambda: NOW)


def refusal(admitting: Callable[[], Awaitable[str]]) -> str:
    async def run() -> str:
        with pytest.raises(Problem) as raised:
            await admitting()
        return raised.value.kind.name

    return asyncio.run(run())


def test_valid_key_is_authorized_and_only_its_id_is_recorded() -> None:
    table = KeyTable()
    key = table.add(READ)
    key_request = request(key)
    assert asyncio.run(access_control(table).authorize(key_request, READ)) == key.split("_")[1]
    assert context_of(key_request).key_id == key.split("_")[1]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"expires_at": NOW}, "wrong-key"),
        ({"expires_at": NOW - timedelta(days=1)}, "wrong-key"),
        ({"revoked_at": NOW}, "wrong-key"),
        ({"expires_at": NOW + timedelta(seconds=1)}, None),
    ],
)
def test_expired_and_revoked_keys_are_refused(options: dict[str, datetime], name: str | None) -> None:
    table = KeyTable()
    key_request = request(table.add(READ, **options))
    control = access_control(table)
    if name is None:
        asyncio.run(control.authorize(key_request, READ))
    else:
        assert refusal(lambda: control.authorize(key_request, READ)) == name
        assert context_of(key_request).key_id is None


def basic(credentials: bytes) -> dict[str, Any]:
    return request(None) | {"headers": [(b"authorization", b"Basic " + b64encode(credentials))]}


def test_browser_may_send_the_key_as_a_password_where_allowed() -> None:
    table = KeyTable()
    key = table.add(READ)
    control = access_control(table)
    for user in ("", "on-call", "\u00e9"):
        credentials = f"{user}:{key}".encode()
        assert asyncio.run(control.authorize(basic(credentials), READ, browser=True)) == key.split("_")[1]
        assert refusal(lambda sent=credentials: control.authorize(basic(sent), READ)) == "wrong-key"  # type: ignore[misc]


@pytest.mark.parametrize(
    "credentials", [b"", b"mm_", b":", b"x:mm_000000000000_" + b"0" * 64, b"\xff:\xff", b"a" * 9000]
)
def test_invalid_passwords_are_refused(credentials: bytes) -> None:
    assert refusal(lambda: access_control(KeyTable()).authorize(basic(credentials), READ, browser=True)) == "wrong-key"


def test_invalid_base64_is_refused_and_refusals_of_browsers_are_counted() -> None:
    control = access_control(KeyTable(), refusals_per_minute=2)
    key_request = request(None) | {"headers": [(b"authorization", b"Basic $$$")]}
    assert refusal(lambda: control.authorize(key_request, READ, browser=True)) == "wrong-key"
    assert refusal(lambda: control.authorize(request(None), READ, browser=True)) == "no-key"
    assert refusal(lambda: control.authorize(basic(b"a:b"), READ, browser=True)) == "too-many-requests"


def test_missing_key_invalid_key_and_missing_scope_are_refused() -> None:
    table = KeyTable()
    key = table.add("metrics:read")
    control = access_control(table)
    assert refusal(lambda: control.authorize(request(None), READ)) == "no-key"
    assert refusal(lambda: control.authorize(request("nonsense"), READ)) == "wrong-key"
    assert refusal(lambda: control.authorize(request(ApiKey.new().text), READ)) == "wrong-key"
    assert refusal(lambda: control.authorize(request(f"{key[:16]}{'0' * 64}"), READ)) == "wrong-key"
    assert refusal(lambda: control.authorize(request(key), READ)) == "missing-scope"


def test_known_and_unknown_keys_are_cached() -> None:
    table = KeyTable()
    known_key, unknown_key = table.add(READ), ApiKey.new().text

    async def run() -> None:
        control = access_control(table, key_cache_seconds=60)
        for _ in range(3):
            await control.authorize(request(known_key), READ)
            with pytest.raises(Problem):
                await control.authorize(request(unknown_key), READ)
        assert len(table.lookups) == 2
        uncached = access_control(table, key_cache_seconds=0)
        for _ in range(3):
            await uncached.authorize(request(known_key), READ)
        assert len(table.lookups) == 5

    asyncio.run(run())


def test_cached_keys_stay_valid_during_an_outage() -> None:
    table = KeyTable()
    known_key, new_key = table.add(READ), table.add(READ)

    async def run() -> None:
        control = access_control(table, key_cache_seconds=0)
        await control.authorize(request(known_key), READ)
        table.unavailable = True
        await control.authorize(request(known_key), READ)
        with pytest.raises(DatabaseError):
            await control.authorize(request(new_key), READ)
        with pytest.raises(Problem):
            await control.authorize(request(f"{known_key[:16]}{'0' * 64}"), READ)

    asyncio.run(run())


def test_address_with_too_many_refusals_causes_no_lookup() -> None:
    table = KeyTable()
    known_key = table.add(READ)

    async def run() -> None:
        control = access_control(table, refusals_per_minute=3, key_cache_seconds=0)
        await control.authorize(request(known_key), READ)
        names = []
        for _ in range(8):
            with pytest.raises(Problem) as raised:
                await control.authorize(request(ApiKey.new().text), READ)
            names.append(raised.value.kind.name)
        assert names == ["wrong-key"] * 3 + ["too-many-requests"] * 5
        assert len(table.lookups) == 4
        assert int((raised.value.headers or {})["Retry-After"]) >= 1
        await control.authorize(request(known_key), READ)  # cached before, so not affected by refusals
        with pytest.raises(Problem) as raised:
            await control.authorize(request(ApiKey.new().text, "10.0.0.2"), READ)
        assert raised.value.kind.name == "wrong-key"

    asyncio.run(run())


def test_feedback_has_its_own_rate_limit() -> None:
    table = KeyTable()
    key = table.add(READ, "feedback:write")

    async def run() -> None:
        control = access_control(table, feedback_per_minute=2, requests_per_minute=50)
        for _ in range(2):
            await control.authorize(request(key), "feedback:write")
        with pytest.raises(Problem) as raised:
            await control.authorize(request(key), "feedback:write")
        assert raised.value.explanation == "at most 2 answers, reactions and impressions a minute"
        for _ in range(20):
            await control.authorize(request(key), READ)

    asyncio.run(run())


def test_refused_batch_gets_the_remainder_and_the_time_when_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    table = KeyTable()
    key = table.add("feedback:write")
    moment = NOW.timestamp() + 20
    monkeypatch.setattr(time, "time", lambda: moment)

    async def run() -> None:
        nonlocal moment
        control = access_control(table, feedback_per_minute=100)

        async def send(items: int) -> Problem | None:
            key_id = await control.authorize(request(key), "feedback:write")
            try:
                await control.count_feedback(key_id, items - 1)
            except Problem as problem:
                return problem
            return None

        too_long = await send(101)
        assert too_long is not None
        assert too_long.kind.name == "invalid-request"
        assert await send(69) is None
        refused = await send(60)
        assert refused is not None
        headers = refused.headers or {}
        assert (headers["RateLimit-Remaining"], headers["RateLimit"].split(";")[1]) == ("29", "r=29")
        seconds = int(headers["Retry-After"])
        assert 60 < seconds <= 80
        moment += seconds
        assert await send(60) is None

    asyncio.run(run())
