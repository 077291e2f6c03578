"""Sign-in to the console with OpenID Connect, against a provider with real HTTP and signatures, and its faults."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from core.database import connect
from core.settings import Settings
from serving.request_logging import JsonFormatter
from tests.conftest import temporary_database
from tests.integration.serving.api import Api, free_port, serving
from tests.integration.serving.openid_provider import CLIENT_ID, CLIENT_SECRET, Provider, new_key, openid_provider
from tests.integration.serving.test_console import csrf_token_of
from tests.integration.serving.test_dashboard import text_of

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SIGN_IN, CALLBACK = "/console/sign-in/openid", "/console/sign-in/callback"


@pytest.fixture(scope="module")
def running_provider() -> Iterator[Provider]:
    with openid_provider() as provider:
        yield provider


@pytest.fixture
def provider(running_provider: Provider) -> Provider:
    """The provider without faults."""
    running_provider.reset()
    return running_provider


def settings_for(provider: Provider) -> dict[str, Any]:
    return {
        "serving_public_url": "http://console.test",
        "console_oidc_issuer": provider.url,
        "console_oidc_client_id": CLIENT_ID,
        "console_oidc_client_secret": CLIENT_SECRET,
        "console_oidc_read_group": "readers",
        "console_oidc_act_group": "operators",
    }


@pytest.fixture(scope="module")
def running_api(
    postgres: str, _template: str, running_provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    data_dir = tmp_path_factory.mktemp("data")
    (data_dir / "alerts").mkdir()
    (data_dir / "clock").write_text(NOW.isoformat())
    settings = {"data_dir": data_dir, "clock_file": data_dir / "clock", **settings_for(running_provider)}
    with temporary_database(postgres, _template) as url, serving(url, **settings) as api:
        yield api


@pytest.fixture
def api(running_api: Api, provider: Provider) -> Api:
    """The API without sessions, at NOW."""
    clock_of(running_api).write_text(NOW.isoformat())
    rows(running_api, "delete from serving.console_sessions returning 1")
    return running_api


@pytest.fixture
def client(api: Api) -> Iterator[httpx.Client]:
    with browser(api) as client:
        yield client


@contextmanager
def browser(api: Api) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=api.url, timeout=60) as client:
        yield client


def callback_of(client: httpx.Client, following: str = "/console/actions") -> str:
    """Start a sign-in, sign in at the provider, and return the address that it sends the browser back to."""
    started = client.get(SIGN_IN, params={"next": following})
    assert started.status_code == 303, text_of(started.text)
    address = httpx.get(started.headers["location"], timeout=60).headers["location"]
    assert address.startswith(f"http://console.test{CALLBACK}?")
    return address.removeprefix("http://console.test")


def clock_of(api: Api) -> Path:
    assert api.clock_file is not None
    return api.clock_file


def rows(api: Api, query: str) -> list[tuple[Any, ...]]:
    with connect(api.database) as connection:
        return connection.execute(query).fetchall()


def test_person_signs_in_and_only_a_pseudonym_is_stored(api: Api, client: httpx.Client, provider: Provider) -> None:
    assert SIGN_IN in client.get("/console/sign-in").text
    response = client.get(callback_of(client))
    assert (response.status_code, response.headers["location"]) == (303, "/console/actions")
    cookies = response.headers.get_list("set-cookie")
    assert any("moovitamix_console=" in cookie and "SameSite=strict" in cookie for cookie in cookies)
    assert "You may only read" in text_of(client.get("/console/actions").text)
    reference = hashlib.sha256(f"{provider.url} ada-1815".encode()).hexdigest()[:32]
    found = rows(api, "select key_id, person, scopes, expires_at from serving.console_sessions")
    assert found == [(None, reference, ["console:read"], NOW + timedelta(hours=1))]
    stored = str(rows(api, "select * from serving.console_sessions"))
    assert "ada" not in stored and "Lovelace" not in stored


def test_session_of_a_person_ends_after_an_hour(api: Api, client: httpx.Client) -> None:
    client.get(callback_of(client))
    clock_of(api).write_text((NOW + timedelta(minutes=59)).isoformat())
    assert client.get("/console/actions").status_code == 200
    clock_of(api).write_text((NOW + timedelta(minutes=60)).isoformat())
    assert client.get("/console/actions").status_code == 303


def test_group_that_may_act_is_recorded_with_its_action(api: Api, client: httpx.Client, provider: Provider) -> None:
    incident = {"key": "k", "what": "the disk is full", "since": "2026-11-22T04:00:00Z", "kind": "disk"}
    (clock_of(api).parent / "alerts" / "open.json").write_text(json.dumps([incident]))
    provider.groups = ["staff", "operators"]
    client.get(callback_of(client))
    token = csrf_token_of(client.get("/console/actions/snooze").text)
    form = {"csrf_token": token, "target": "k", "hours": "4", "reason": "the disk is replaced", "confirmed": "yes"}
    response = client.post("/console/actions/snooze", data=form)
    assert response.status_code == 303, text_of(response.text)
    ((key_id, person),) = rows(api, "select key_id, person from serving.console_actions")
    assert key_id is None and len(person) == 32
    assert f"person {person[:12]}" in text_of(client.get("/console/actions").text)
    assert client.post("/console/sign-out", data={"csrf_token": token}).status_code == 303
    assert rows(api, "select count(*) from serving.console_sessions") == [(0,)]


@pytest.mark.parametrize("groups", [None, [], ["staff"], "reader", [["readers"]], {"readers": True}, 7])
def test_person_without_the_group_may_not_read(client: httpx.Client, provider: Provider, groups: object) -> None:
    provider.groups = groups
    response = client.get(callback_of(client))
    assert response.status_code == 403
    assert "your account is not in a group that may" in text_of(response.text)
    assert client.get("/console/actions").status_code == 303


def test_claim_with_one_group_as_text_counts(client: httpx.Client, provider: Provider) -> None:
    provider.groups = "readers"
    assert client.get(callback_of(client)).status_code == 303


def test_groups_may_be_below_other_claims_as_in_keycloak(api: Api, provider: Provider, tmp_path: Path) -> None:
    settings = settings_for(provider) | {"console_oidc_groups_claim": "realm_access.roles"}
    statuses = {}
    with serving(api.database, data_dir=tmp_path, **settings) as other:
        for claims in (
            {"realm_access": {"roles": ["offline_access", "readers"]}},
            {"realm_access.roles": ["readers"]},
            {"realm_access": {"roles": ["staff"]}},
            {"realm_access": ["readers"]},
            {"realm_access": {"roles": {"readers": True}}},
            {"roles": ["readers"]},
        ):
            provider.changed_claims = claims
            with browser(other) as client:
                statuses[str(claims)] = client.get(callback_of(client)).status_code
    assert list(statuses.values()) == [303, 303, 403, 403, 403, 403], statuses


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another-client"},
        {"aud": [CLIENT_ID, "another-client"]},  # without azp
        {"aud": None},
        {"iss": "https://another.example"},
        {"exp": timedelta(hours=-1), "iat": timedelta(hours=-2)},
        {"exp": None},
        {"nbf": timedelta(hours=1)},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
    ],
    ids=str,
)
def test_token_with_a_wrong_claim_signs_nobody_in(
    client: httpx.Client, provider: Provider, changes: dict[str, Any]
) -> None:
    now = datetime.now(UTC)
    provider.changed_claims = {
        name: int((now + value).timestamp()) if isinstance(value, timedelta) else value
        for name, value in changes.items()
    }
    response = client.get(callback_of(client))
    assert response.status_code == 401
    assert "not valid" in text_of(response.text)
    assert client.get("/console/actions").status_code == 303


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_token_that_is_not_signed_with_the_private_key_signs_nobody_in(
    client: httpx.Client, provider: Provider, algorithm: str
) -> None:
    provider.algorithm = algorithm
    assert client.get(callback_of(client)).status_code == 401


@pytest.mark.parametrize("kid", ["first", "second"])
def test_token_with_a_wrong_signature_signs_nobody_in(client: httpx.Client, provider: Provider, kid: str) -> None:
    provider.published_key = new_key(kid)
    assert client.get(callback_of(client)).status_code == 401


def test_new_key_of_the_provider_is_used_at_once(client: httpx.Client, provider: Provider) -> None:
    assert client.get(callback_of(client)).status_code == 303
    provider.key = new_key()
    assert client.get(callback_of(client)).status_code == 303


def test_finished_sign_in_cannot_be_replayed(client: httpx.Client) -> None:
    callback = callback_of(client)
    cookies = dict(client.cookies)
    assert client.get(callback).status_code == 303
    assert client.get(callback).status_code == 400  # the cookie was deleted
    kept = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
    response = client.get(callback, headers=kept)
    assert response.status_code == 401  # the provider gave the code once
    assert "moovitamix_console=" not in str(response.headers.get_list("set-cookie"))


def test_callback_of_another_browser_or_sign_in_signs_nobody_in(api: Api, client: httpx.Client) -> None:
    with browser(api) as attacker:
        callback = callback_of(attacker)
    assert client.get(callback).status_code == 400
    callback_of(client)
    response = client.get(callback)
    assert response.status_code == 400
    assert "not started in this browser" in text_of(response.text)
    names = ("state", "nonce", "code_verifier", "following")
    half_character = base64.urlsafe_b64encode(json.dumps(dict.fromkeys(names, "\ud800")).encode()).decode()
    for cookie in ("x", "e30=", "W10=", "bnVsbA==", half_character):
        assert client.get(callback, headers={"Cookie": f"moovitamix_sign_in={cookie}"}).status_code == 400


@pytest.mark.parametrize("following", ["https://evil.example", "//evil.example", "/console\\..\\x", "/consoles", ""])
def test_sign_in_leads_to_the_console_only(client: httpx.Client, following: str) -> None:
    response = client.get(callback_of(client, following))
    assert (response.status_code, response.headers["location"]) == (303, "/console")


def test_provider_that_does_not_answer_leaves_the_key(api: Api, client: httpx.Client, provider: Provider) -> None:
    callback = callback_of(client)
    provider.is_down = True
    response = client.get(callback)
    assert response.status_code == 503
    assert "does not respond" in text_of(response.text)
    assert client.get(SIGN_IN).status_code == 503
    assert client.post("/console/sign-in", data={"key": api.key}).status_code == 303


@pytest.mark.parametrize(
    "metadata", [{"issuer": "https://another.example"}, {"token_endpoint": None}, {"jwks_uri": None}], ids=str
)
def test_provider_with_wrong_addresses_signs_nobody_in(
    client: httpx.Client, provider: Provider, metadata: dict[str, Any]
) -> None:
    callback = callback_of(client)
    provider.metadata = metadata
    assert client.get(callback).status_code == 503


def test_refusal_of_the_provider_is_shown(client: httpx.Client, provider: Provider) -> None:
    provider.error = "access_denied"
    response = client.get(callback_of(client))
    assert response.status_code == 401
    assert "did not sign you in" in text_of(response.text)


def test_wrong_secret_of_the_client_signs_nobody_in(api: Api, provider: Provider, tmp_path: Path) -> None:
    wrong = settings_for(provider) | {"console_oidc_client_secret": "another"}
    with serving(api.database, data_dir=tmp_path, **wrong) as other, browser(other) as client:
        assert client.get(callback_of(client)).status_code == 401


def test_failed_sign_ins_count_as_refusals_of_the_address(api: Api, provider: Provider, tmp_path: Path) -> None:
    limits = settings_for(provider) | {"serving_refusals_per_minute": 2}
    with serving(api.database, data_dir=tmp_path, **limits) as other, browser(other) as client:
        callback = callback_of(client)
        assert [client.get(f"{CALLBACK}?state=x&code=y").status_code for _ in range(4)] == [400, 400, 429, 429]
        asked = len(provider.requests)
        assert client.get(SIGN_IN).status_code == 429
        assert client.get(callback).status_code == 429
        assert len(provider.requests) == asked


def test_log_names_the_cause_and_neither_person_nor_token(
    api: Api, provider: Provider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    provider.changed_claims = {"nonce": "another"}
    caplog.set_level(logging.INFO)
    # A server of its own: a request is logged after its response, so the log is complete when the server ended.
    with serving(api.database, data_dir=tmp_path, **settings_for(provider)) as own, browser(own) as client:
        client.get(callback_of(client))
    lines = "\n".join(JsonFormatter().format(record) for record in caplog.records if record.name != "httpx")
    assert "the claim nonce of the ID token is not valid" in lines
    for personal in ("ada", "Lovelace", CLIENT_SECRET, "code="):
        assert personal not in lines


def test_without_a_provider_only_keys_sign_in(api: Api, tmp_path: Path) -> None:
    with serving(api.database, data_dir=tmp_path) as other, browser(other) as client:
        assert SIGN_IN not in client.get("/console/sign-in").text
        assert client.get(SIGN_IN).status_code == 404
        assert client.get(CALLBACK).status_code == 404


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"console_oidc_issuer": "http://sso.example"}, "must be https"),
        ({"serving_public_url": ""}, "needs SERVING_PUBLIC_URL"),
        ({"console_oidc_client_id": ""}, "must be set with CONSOLE_OIDC_ISSUER"),
        ({"console_oidc_client_secret": ""}, "must be set with CONSOLE_OIDC_ISSUER"),
        ({"console_oidc_read_group": ""}, "must be set with CONSOLE_OIDC_ISSUER"),
        ({"console_oidc_scopes": "profile"}, "pattern"),
        ({"console_oidc_groups_claim": "realm_access..roles"}, "pattern"),
        ({"console_oidc_groups_claim": ".roles"}, "pattern"),
    ],
)
def test_incomplete_settings_are_refused(change: dict[str, str], problem: str) -> None:
    complete = settings_for(Provider(f"http://127.0.0.1:{free_port()}"))
    Settings.model_validate(complete)
    with pytest.raises(ValidationError, match=problem):
        Settings.model_validate(complete | change)
