"""Who may pass, with keys from a dictionary instead of a database."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.errors import DatabaseError
from core.settings import Settings
from serving.access_control import AccessControl, StoredApiKey
from serving.keys import ApiKey, Scope
from serving.problems import Problem
from serving.request_context import context_of

NOW = datetime(2026, 11, 22, tzinfo=UTC)
READ: Scope = "recommendations:read"


@dataclass
class Table:
    """The keys of a database that can go away, and how often it was asked."""

    keys: dict[str, StoredApiKey] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    away: bool = False

    async def find(self, key_id: str) -> StoredApiKey | None:
        self.asked.append(key_id)
        if self.away:
            raise DatabaseError("away")
        return self.keys.get(key_id)

    def add(self, *scopes: Scope, expires_at: datetime | None = None, revoked_at: datetime | None = None) -> str:
        made = ApiKey.new()
        self.keys[made.key_id] = StoredApiKey(made.secret_hash, frozenset(scopes), expires_at, revoked_at)
        return made.text


def request(key: str | None, address: str = "10.0.0.1") -> dict[str, Any]:
    headers = [] if key is None else [(b"authorization", f"Bearer {key}".encode())]
    return {"type": "http", "headers": headers, "client": (address, 1)}


def access_control(table: Table, **settings: float) -> AccessControl:
    given = {f"serving_{name}": value for name, value in settings.items()}
    return AccessControl(Settings.model_validate(given), table.find, clock=lambda: NOW)


def statement_refused(admitting: Callable[[], Awaitable[str]]) -> str:
    async def run() -> str:
        with pytest.raises(Problem) as raised:
            await admitting()
        return raised.value.kind.name

    return asyncio.run(run())


def test_valid_key_is_authorized_and_only_its_id_is_recorded() -> None:
    table = Table()
    key = table.add(READ)
    asked = request(key)
    assert asyncio.run(access_control(table).authorize(asked, READ)) == key.split("_")[1]
    assert context_of(asked).key_id == key.split("_")[1]


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
    table = Table()
    asked = request(table.add(READ, **options))
    door = access_control(table)
    if name is None:
        asyncio.run(door.authorize(asked, READ))
    else:
        assert statement_refused(lambda: door.authorize(asked, READ)) == name
        assert context_of(asked).key_id is None


def basic(credentials: bytes) -> dict[str, Any]:
    return request(None) | {"headers": [(b"authorization", b"Basic " + b64encode(credentials))]}


def test_browser_may_send_the_key_as_a_password_where_allowed() -> None:
    table = Table()
    key = table.add(READ)
    door = access_control(table)
    for user in ("", "on-call", "\u00e9"):
        credentials = f"{user}:{key}".encode()
        assert asyncio.run(door.authorize(basic(credentials), READ, browser=True)) == key.split("_")[1]
        assert statement_refused(lambda sent=credentials: door.authorize(basic(sent), READ)) == "wrong-key"  # type: ignore[misc]


@pytest.mark.parametrize(
    "credentials", [b"", b"mm_", b":", b"x:mm_000000000000_" + b"0" * 64, b"\xff:\xff", b"a" * 9000]
)
def test_invalid_passwords_are_refused(credentials: bytes) -> None:
    assert (
        statement_refused(lambda: access_control(Table()).authorize(basic(credentials), READ, browser=True))
        == "wrong-key"
    )


def test_invalid_base64_is_refused_and_refusals_of_browsers_are_counted() -> None:
    door = access_control(Table(), refusals_per_minute=2)
    asked = request(None) | {"headers": [(b"authorization", b"Basic $$$")]}
    assert statement_refused(lambda: door.authorize(asked, READ, browser=True)) == "wrong-key"
    assert statement_refused(lambda: door.authorize(request(None), READ, browser=True)) == "no-key"
    assert statement_refused(lambda: door.authorize(basic(b"a:b"), READ, browser=True)) == "too-many-requests"


def test_missing_key_invalid_key_and_missing_scope_are_refused() -> None:
    table = Table()
    key = table.add("metrics:read")
    door = access_control(table)
    assert statement_refused(lambda: door.authorize(request(None), READ)) == "no-key"
    assert statement_refused(lambda: door.authorize(request("nonsense"), READ)) == "wrong-key"
    assert statement_refused(lambda: door.authorize(request(ApiKey.new().text), READ)) == "wrong-key"
    assert statement_refused(lambda: door.authorize(request(f"{key[:16]}{'0' * 64}"), READ)) == "wrong-key"
    assert statement_refused(lambda: door.authorize(request(key), READ)) == "missing-scope"


def test_known_and_unknown_keys_are_cached() -> None:
    table = Table()
    known, unknown = table.add(READ), ApiKey.new().text

    async def run() -> None:
        door = access_control(table, key_cache_seconds=60)
        for _ in range(3):
            await door.authorize(request(known), READ)
            with pytest.raises(Problem):
                await door.authorize(request(unknown), READ)
        assert len(table.asked) == 2
        forgetful = access_control(table, key_cache_seconds=0)
        for _ in range(3):
            await forgetful.authorize(request(known), READ)
        assert len(table.asked) == 5

    asyncio.run(run())


def test_cached_keys_stay_valid_during_an_outage() -> None:
    table = Table()
    known, new = table.add(READ), table.add(READ)

    async def run() -> None:
        door = access_control(table, key_cache_seconds=0)
        await door.authorize(request(known), READ)
        table.away = True
        await door.authorize(request(known), READ)
        with pytest.raises(DatabaseError):
            await door.authorize(request(new), READ)
        with pytest.raises(Problem):
            await door.authorize(request(f"{known[:16]}{'0' * 64}"), READ)

    asyncio.run(run())


def test_address_with_too_many_refusals_causes_no_lookup() -> None:
    table = Table()
    known = table.add(READ)

    async def run() -> None:
        door = access_control(table, refusals_per_minute=3, key_cache_seconds=0)
        await door.authorize(request(known), READ)
        names = []
        for _ in range(8):
            with pytest.raises(Problem) as raised:
                await door.authorize(request(ApiKey.new().text), READ)
            names.append(raised.value.kind.name)
        assert names == ["wrong-key"] * 3 + ["too-many-requests"] * 5
        assert len(table.asked) == 4
        assert int((raised.value.headers or {})["Retry-After"]) >= 1
        await door.authorize(request(known), READ)  # known before: not held off with the others
        with pytest.raises(Problem) as raised:
            await door.authorize(request(ApiKey.new().text, "10.0.0.2"), READ)
        assert raised.value.kind.name == "wrong-key"

    asyncio.run(run())


def test_feedback_has_its_own_rate_limit() -> None:
    table = Table()
    key = table.add(READ, "feedback:write")

    async def run() -> None:
        door = access_control(table, feedback_per_minute=2, requests_per_minute=50)
        for _ in range(2):
            await door.authorize(request(key), "feedback:write")
        with pytest.raises(Problem) as raised:
            await door.authorize(request(key), "feedback:write")
        assert raised.value.explanation == "at most 2 feedback a minute"
        for _ in range(20):
            await door.authorize(request(key), READ)

    asyncio.run(run())
