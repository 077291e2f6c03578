"""API keys: authorization, rate limits and revocation."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import httpx
import psycopg
import pytest

from core.api_scopes import Scope
from core.database import connect, warehouse_lock
from serving import keys
from tests.integration.serving.api import NOW, Api, go_live, serving, stage
from tests.integration.serving.test_responses import assert_problem


def read_with(api: Api, **headers: str | bytes) -> httpx.Response:
    return httpx.get(f"{api.url}/v1/users/5/recommendations", headers=headers, timeout=60)


def test_key_is_accepted_in_both_headers(world: Api) -> None:
    assert read_with(world, Authorization=f"Bearer {world.key}").status_code == 200
    assert read_with(world, Authorization=f"bearer  {world.key}").status_code == 200
    assert read_with(world, **{"X-API-Key": world.key}).status_code == 200


def test_response_without_a_key_explains_how_to_send_it(world: Api) -> None:
    response = read_with(world)
    assert_problem(response, 401, "no-key")
    assert response.headers["www-authenticate"] == 'Bearer realm="moovitamix"'


@pytest.mark.parametrize(
    "key", ["x", "mm_", "mm_000000000000_" + "0" * 64, "mm_x_y", "\u00ff", "Basic abc", "a" * 9000]
)
def test_invalid_keys_get_the_same_response(world: Api, key: str) -> None:
    response = read_with(world, Authorization=f"Bearer {key}".rstrip().encode("latin-1"))
    problem = assert_problem(response, 401, "wrong-key")
    assert 'error="invalid_token"' in response.headers["www-authenticate"]
    assert problem["detail"] == "unknown, revoked or expired"


@pytest.mark.parametrize("prefix", ["", "Token ", "Basic "])
def test_key_without_bearer_is_refused_with_the_form_to_send(world: Api, prefix: str) -> None:
    for sent in (f"{prefix}{world.key}", "Bearer"):
        response = read_with(world, Authorization=sent)
        assert assert_problem(response, 401, "wrong-key")["detail"] == "send it as: Authorization: Bearer <key>"
        assert 'error="invalid_token"' in response.headers["www-authenticate"]


def test_wrong_secret_of_a_known_key_is_refused(world: Api) -> None:
    key = keys.ApiKey.read(world.key)
    assert key
    wrong = keys.ApiKey(key.key_id, "0" * 64)
    assert_problem(read_with(world, Authorization=f"Bearer {wrong.text}"), 401, "wrong-key")


def test_expired_key_is_refused(world: Api) -> None:
    expired = world.new_key("recommendations:read", now=NOW - timedelta(days=2), days=1)
    assert_problem(read_with(world, Authorization=f"Bearer {expired.text}"), 401, "wrong-key")


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/users/5/recommendations", "recommendations:read"),
        ("GET", "/v1/tracks/5/similar", "recommendations:read"),
        ("POST", "/v1/feedback", "feedback:write"),
        ("GET", "/metrics", "metrics:read"),
    ],
)
def test_each_path_needs_its_scope(world: Api, method: str, path: str, scope: Scope) -> None:
    key_without_scope = world.new_key(*(name for name in keys.SCOPES if name != scope))
    headers = {"Authorization": f"Bearer {key_without_scope.text}"}
    response = httpx.request(method, f"{world.url}{path}", headers=headers, timeout=60)
    assert_problem(response, 403, "missing-scope")
    assert f'scope="{scope}"' in response.headers["www-authenticate"]
    with_it = {"Authorization": f"Bearer {world.new_key(scope).text}"}
    assert httpx.request(method, f"{world.url}{path}", headers=with_it, timeout=60).status_code in (200, 415)


def test_new_key_works_at_once_and_revoked_key_stops_soon(world: Api) -> None:
    key = world.new_key("recommendations:read")
    headers = {"Authorization": f"Bearer {key.text}"}
    assert read_with(world, **headers).status_code == 200
    with connect(world.database) as connection:
        assert keys.revoke(connection, key.key_id, NOW)
        assert keys.revoke(connection, key.key_id, NOW)
        assert not keys.revoke(connection, "000000000000", NOW)
    deadline = time.monotonic() + 60
    while read_with(world, **headers).status_code == 200:
        assert time.monotonic() < deadline
    assert_problem(read_with(world, **headers), 401, "wrong-key")


def test_command_creates_lists_and_revokes_keys(
    empty_database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database)  # the command migrates the database
    assert keys.main(["create", "--name", "app", "--scope", "recommendations:read", "--days", "9"]) == 0
    key = keys.ApiKey.read(capsys.readouterr().out.strip())
    assert key
    assert keys.main(["list"]) == 0
    listed = capsys.readouterr().out
    assert key.key_id in listed and "recommendations:read" in listed and "valid until" in listed
    assert key.secret not in listed
    assert keys.main(["revoke", key.text]) == 0
    assert keys.main(["list"]) == 0
    assert "revoked" in capsys.readouterr().out
    assert keys.main(["revoke", "000000000000"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    with psycopg.connect(empty_database) as connection:
        rows = connection.execute("select key_id, secret_hash from serving.api_keys").fetchall()
    assert [(key_id, bytes(secret_hash)) for key_id, secret_hash in rows] == [(key.key_id, key.secret_hash)]


def test_key_is_revoked_while_an_ingest_runs(
    world: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    leaked = world.new_key("recommendations:read")
    monkeypatch.setenv("DATABASE_URL", world.database)
    monkeypatch.setenv("LOCK_WAIT_SECONDS", "0")
    with connect(world.database) as ingest, warehouse_lock(ingest, 5):
        assert keys.main(["revoke", leaked.text]) == 0
    assert capsys.readouterr().out == f"revoked {leaked.key_id}\n"


def test_rate_limit_applies_to_each_key_separately(populated: str) -> None:
    with connect(populated) as connection:
        go_live(connection, stage(connection, {5: [1]}))
    limits = {"serving_requests_per_minute": 5, "serving_refusals_per_minute": 3, "serving_key_cache_seconds": 60}
    with serving(populated, **limits) as api:
        metrics = {"Authorization": f"Bearer {api.new_key('metrics:read').text}"}
        assert httpx.get(f"{api.url}/metrics", headers=metrics, timeout=60).status_code == 200
        other_key = {"Authorization": f"Bearer {api.new_key('recommendations:read').text}"}
        limited = [api.read(5) for _ in range(12)][-1]
        assert_problem(limited, 429, "too-many-requests")
        assert 1 <= int(limited.headers["retry-after"]) <= 120
        assert limited.headers["ratelimit-policy"] == '"requests";q=5;w=60'
        assert limited.headers["ratelimit"].startswith('"requests";r=0;t=')
        assert limited.headers["ratelimit-remaining"] == "0"
        assert read_with(api, **other_key).status_code == 200
        # Too many refusals block the address, but cached keys still pass.
        failing = [read_with(api, Authorization=f"Bearer mm_{n:012x}_{'0' * 64}").status_code for n in range(12)]
        assert failing[0] == 401
        assert failing[-1] == 429
        refused = assert_problem(read_with(api, Authorization="Bearer x"), 429, "too-many-requests")
        assert refused["detail"] == "at most 3 requests without a valid key a minute"
        assert read_with(api, **other_key).status_code == 200
        counted = 'moovitamix_serving_rate_limited_total{route="/v1/users/{user_id}/recommendations"}'
        assert counted in httpx.get(f"{api.url}/metrics", headers=metrics, timeout=60).text


def test_processes_share_one_rate_limit_in_a_database(populated: str) -> None:
    with connect(populated) as connection:
        go_live(connection, stage(connection, {5: [1]}))
    shared = {"serving_requests_per_minute": 20, "serving_refusals_per_minute": 3, "serving_limits_url": populated}
    with serving(populated, **shared) as first, serving(populated, key=first.key, **shared) as second:
        responses = [api.read(5) for _ in range(20) for api in (first, second)]
        passed = [response.status_code for response in responses].count(200)
        assert 20 <= passed <= 22, "a new minute may begin during the requests"
        assert_problem(responses[-1], 429, "too-many-requests")
        assert 1 <= int(responses[-1].headers["retry-after"]) <= 60
        other_key = {"Authorization": f"Bearer {first.new_key('recommendations:read').text}"}
        assert read_with(second, **other_key).status_code == 200
        unknown = [
            read_with(api, Authorization=f"Bearer mm_{n:012x}_{'0' * 64}").status_code
            for n in range(6)
            for api in (first, second)
        ]
        assert unknown[0] == 401
        assert unknown[-1] == 429
        with connect(populated) as connection:
            counted = connection.execute("select limit_name, client from serving.request_counts").fetchall()
            assert {name for name, _ in counted} == {"requests", "refusals"}
            assert "127.0.0.1" not in {client for _, client in counted}, "an address is personal data"
            # Without the counts, each process goes on alone.
            connection.execute("revoke insert on serving.request_counts from moovitamix_serving")
        statuses = [api.read(5).status_code for _ in range(3) for api in (first, second)]
        assert statuses == [200] * 6


def test_feedback_flood_is_limited_and_reads_continue(populated: str) -> None:
    with connect(populated) as connection:
        go_live(connection, stage(connection, {5: [1]}))
    with serving(populated, serving_feedback_per_minute=20) as api:
        statuses: list[int] = []

        def flood() -> None:
            with httpx.Client(base_url=api.url, headers=api.client.headers, timeout=60) as client:
                for track in range(1, 61):
                    feedback = {"user_id": 5, "track_id": track, "useful": True}
                    statuses.append(client.post("/v1/feedback", json=feedback).status_code)

        threads = [threading.Thread(target=flood) for _ in range(3)]
        for thread in threads:
            thread.start()
        reads = [api.read(5).status_code for _ in range(100)]
        for thread in threads:
            thread.join()
        assert set(reads) == {200}
        assert set(statuses) == {200, 201, 429} or set(statuses) == {201, 429}
        assert sum(status != 429 for status in statuses) <= 40  # 20 in each of two minutes, at most
        with connect(populated) as connection:
            (stored,) = connection.execute("select count(*) from ml.feedback").fetchone() or (0,)
        assert stored == statuses.count(201)
