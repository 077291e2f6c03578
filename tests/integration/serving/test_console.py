"""The console on a real database: sign-in, sessions, pages, and what they must not show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from psycopg import connect as psycopg_connect
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from core.database import connect
from flows import experiment
from serving import keys
from tests.conftest import temporary_database
from tests.integration.serving.api import Api, serving
from tests.integration.serving.console_history import HARM, break_last_night, console_history
from tests.integration.serving.run_history import MAIL, PERSON
from tests.integration.serving.test_dashboard import text_of

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
BLOCKED = "listen_history-2026-11-22"
PAGES = {
    "/console": "Last published",
    "/console?days=90&refresh=60": "The last 90 days",
    "/console/batches": BLOCKED,
    "/console/batches?endpoint=users&status=published&until=2026-11-20": "users-2026-11-20",
    "/console/batches?until=0001-01-01": BLOCKED,
    f"/console/batches/{BLOCKED}": "rejected share 12.4 % is above 5 %",
    "/console/expectations": "no row breaks it",
    "/console/expectations/listen_history/rejects_are_few": "Failed 1 of 30 audited days",
    "/console/expectations/listen_history/rejects_are_few?": "At most 5 % of the rows of the API were rejected.",
    "/console/expectations/listen_history/id_is_unique?column=id": "Keys: 1 2026-11-21T04:00:00+00:00",
    "/console/figures/listen_history/sessions": "Unusual 1 of 30 days",
    "/console/models": "Live since",
    "/console/models/19": "chosen",
    "/console/explore": "User, by id",
    "/console/explore?track=title%201": "Title 10",
    "/console/explore/users/5": "Recommended now",
    "/console/explore/tracks/7": "Similar tracks",
    "/console/experiments": "ease against popularity. coverage fell",
    "/console/experiments/1": "The treatment is worse",
    "/console/stream": "Streaming is off",
    "/console/actions": "No action was requested yet",
    "/console/actions/rollback": "An earlier publication is live again at once",
    "/console/runbook": "A batch is blocked",
    "/console/docs/glossary": "Glossary",
}


@pytest.fixture(scope="module")
def api(postgres: str, _template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The API after thirty nights, the last of them broken."""
    data_dir = tmp_path_factory.mktemp("data")
    (data_dir / "clock").write_text(NOW.isoformat())
    with temporary_database(postgres, _template) as url:
        with connect(url) as connection:
            console_history(connection, NOW, 30)
            break_last_night(connection, NOW)
        with serving(
            url,
            data_dir=data_dir,
            clock_file=data_dir / "clock",
            data_docs_web_url="http://127.0.0.1:9",
            serving_key_cache_seconds=0,
        ) as api:
            yield api


@contextmanager
def browser_of(api: Api, key: str = "") -> Iterator[httpx.Client]:
    """A client that keeps cookies and sends no key; signed in if a key is given."""
    with httpx.Client(base_url=api.url, timeout=60) as client:
        if key:
            response = client.post("/console/sign-in", data={"key": key})
            assert response.status_code == 303, text_of(response.text)
        yield client


@pytest.fixture(scope="module")
def signed_in(api: Api) -> Iterator[httpx.Client]:
    with browser_of(api, api.key) as client:
        yield client


def csrf_token_of(html: str) -> str:
    return html.partition('name="csrf_token" value="')[2].partition('"')[0]


@pytest.mark.parametrize("path", PAGES)
def test_page_answers_its_question_without_personal_data(signed_in: httpx.Client, path: str) -> None:
    response = signed_in.get(path)
    assert response.status_code == 200
    text = text_of(response.text)
    assert PAGES[path] in text
    for secret in (PERSON, MAIL, "ada@example.org", "Lovelace", f"raw {MAIL}"):
        assert secret not in text
    assert response.text.count("<main") == 1
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "form-action 'self'" in policy and "script" not in policy
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", [*PAGES, "/console/batches/nothing"])
def test_page_without_a_session_leads_to_the_sign_in(api: Api, path: str) -> None:
    with browser_of(api) as client:
        response = client.get(path)
        assert response.status_code == 303
        assert response.headers["location"].startswith("/console/sign-in?next=/console")
        # An API key in a header is no session: a form of another site could then act with it.
        assert client.get(path, headers={"Authorization": f"Bearer {api.key}"}).status_code == 303


@pytest.mark.parametrize(
    "path",
    [
        "/console/batches/nothing",
        "/console/models/99999",
        "/console/models/x",
        "/console/explore/users/123456",
        "/console/explore/users/9999999999999999999999",
        "/console/explore/tracks/-1",
        "/console/docs/..%2f..%2fpyproject",
        "/console/docs/nothing",
        "/console/actions/destroy",
        "/console/runs/1",
        "/console/expectations/tracks/nothing",
        "/console/figures/nothing/sessions",
        "/console/experiments/2",
    ],
)
def test_unknown_page_says_what_is_unknown(signed_in: httpx.Client, path: str) -> None:
    response = signed_in.get(path)
    assert response.status_code == 404
    assert "Traceback" not in response.text


def test_blocked_batch_names_failures_keys_and_what_to_do(signed_in: httpx.Client) -> None:
    html = signed_in.get(f"/console/batches/{BLOCKED}").text
    text = text_of(html)
    assert "not true of 42 rows: an id comes once" in text
    assert "Keys (42): 1 2026-11-21T04:00:00+00:00" in text
    assert "duration: not MM:SS" in text
    assert 'href="/console/runbook#a-batch-is-blocked"' in html
    assert f'href="http://127.0.0.1:9/validations/{BLOCKED}.html"' in html


def test_health_page_links_each_reason_to_the_runbook_of_the_console(signed_in: httpx.Client) -> None:
    html = signed_in.get("/console").text
    assert 'href="/console/runbook#a-batch-is-blocked"' in html
    assert f'href="/console/batches/{BLOCKED}"' in html
    runbook = signed_in.get("/console/runbook").text
    assert 'id="a-batch-is-blocked"' in runbook and 'href="/console/docs/data-quality#thresholds"' in runbook


def test_training_marks_the_winner_first_with_intervals(signed_in: httpx.Client) -> None:
    text = text_of(signed_in.get("/console/models/15").text)
    candidates = text[text.index("Candidates Best first") :]
    positions = [
        candidates.index(name) for name in ("ease chosen", "graph-filter 0.178", "als 0.171", "popularity 0.093")
    ]
    assert positions == sorted(positions)
    assert "0.1720 to 0.1960" in candidates
    assert "excluded: it took longer than 600 s" in candidates
    assert "Against the champion: wins, +0.0110 (at least +0.0020), 320 users" in candidates


def test_user_page_shows_recommendations_with_reasons_and_earlier_ones(api: Api, signed_in: httpx.Client) -> None:
    text = text_of(signed_in.get("/console/explore/users/5").text)
    assert "From publication 14" in text
    assert "Because you played Title" in text
    assert "14 live 2026-11-22 12:00 ease 20 20" in text
    fallback = text_of(signed_in.get("/console/explore/users/31").text)
    assert "has no recommendations of their own, and gets popular tracks" in fallback


def test_text_of_the_source_is_escaped(signed_in: httpx.Client) -> None:
    html = signed_in.get("/console/explore/tracks/100").text
    assert HARM not in html and "&lt;script&gt;" in html
    search = signed_in.get("/console/explore", params={"track": '"><script>alert(2)</script>'}).text
    assert "<script>" not in search
    assert "No title starts with" in search


def test_wildcards_of_a_search_are_text(signed_in: httpx.Client) -> None:
    assert "No title starts with" in signed_in.get("/console/explore", params={"track": "%"}).text
    assert "No title starts with" in signed_in.get("/console/explore", params={"track": "Title_1"}).text


def test_sign_in_needs_a_valid_key_with_the_scope(api: Api) -> None:
    with browser_of(api) as client:
        for key, status in (
            ("nonsense", 401),
            (api.new_key("dashboard:read").text, 403),
            (api.new_key("console:read", now=NOW - timedelta(days=9), days=1).text, 401),
        ):
            response = client.post("/console/sign-in", data={"key": key})
            assert response.status_code == status
            assert key not in response.text
            assert "set-cookie" not in response.headers
        assert client.get("/console").status_code == 303


@pytest.mark.parametrize("content", ["&" * 60, "a=1&" * 60, "a" * 20_000, b"key=\xff%ff%00"])
def test_strange_form_is_a_wrong_key(api: Api, content: str | bytes) -> None:
    with browser_of(api) as client:
        response = client.post("/console/sign-in", content=content)
    assert response.status_code == 401
    assert 'name="key"' in response.text


def test_cookie_is_protected_and_its_hash_is_stored(api: Api) -> None:
    with browser_of(api) as client:
        response = client.post("/console/sign-in", data={"key": api.new_key("console:read").text})
        flags = response.headers["set-cookie"]
        assert "HttpOnly" in flags and "SameSite=strict" in flags and "Path=/console" in flags
        assert "Secure" not in flags  # http on this machine
        token = client.cookies["moovitamix_console"]
    with connect(api.database) as connection:
        stored = connection.execute("select encode(session_hash, 'hex') from serving.console_sessions").fetchall()
    assert all(token not in text and len(text) == 64 for (text,) in stored)


def test_cookie_is_secure_behind_tls(database: str, tmp_path: Path) -> None:
    with serving(database, data_dir=tmp_path, serving_public_url="https://music.example.org") as api:
        response = httpx.post(f"{api.url}/console/sign-in", data={"key": api.key}, timeout=60)
    assert "Secure" in response.headers["set-cookie"]


def test_session_ends_with_its_key_its_time_and_a_sign_out(api: Api, signed_in: httpx.Client) -> None:
    key = api.new_key("console:read")
    with browser_of(api, key.text) as client:
        assert client.get("/console/models").status_code == 200
        with connect(api.database) as connection:
            keys.revoke(connection, key.key_id, NOW)
        assert client.get("/console/models").status_code == 303
    with browser_of(api, api.key) as client:
        html = client.get("/console/models").text
        foreign = client.post(
            "/console/sign-out", data={"csrf_token": csrf_token_of(signed_in.get("/console/models").text)}
        )
        assert foreign.status_code == 403
        cookie = client.cookies["moovitamix_console"]
        assert client.post("/console/sign-out", data={"csrf_token": csrf_token_of(html)}).status_code == 303
        client.cookies.set("moovitamix_console", cookie, domain="127.0.0.1", path="/console")
        assert client.get("/console/models").status_code == 303
    with browser_of(api, api.key) as client, connect(api.database) as connection:
        connection.execute("update serving.console_sessions set expires_at = %s", [NOW])
        assert client.get("/console/models").status_code == 303
        connection.execute("update serving.console_sessions set expires_at = %s", [NOW + timedelta(hours=1)])


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/console/models?before=3", "/console/models?before=3"),
        ("https://evil.example", "/console"),
        ("//evil.example", "/console"),
        ("/console\\@evil.example", "/console"),
        ("/consoleevil", "/console"),
        ("/console/\r\nSet-Cookie: a=b", "/console"),
    ],
)
def test_sign_in_leads_to_pages_of_the_console_only(api: Api, path: str, target: str) -> None:
    with browser_of(api) as client:
        response = client.post("/console/sign-in", data={"key": api.key, "next": path})
    assert (response.status_code, response.headers["location"]) == (303, target)


def test_link_from_another_site_is_asked_again_with_the_cookie(api: Api) -> None:
    with browser_of(api) as client:
        response = client.get("/console/models", headers={"Sec-Fetch-Site": "cross-site"})
    assert (response.status_code, response.headers["refresh"]) == (200, "0")


def test_empty_installation_says_what_to_run(database: str, tmp_path: Path) -> None:
    with serving(database, data_dir=tmp_path) as api, browser_of(api, api.key) as client:
        for path, text in (
            ("/console", "No data was ingested yet"),
            ("/console/batches", "No batch was ingested yet. Run .venv/bin/python -m flows.ingest"),
            (
                "/console/models",
                "No recommendations are published yet. After an ingest, run .venv/bin/python -m flows.retrain",
            ),
            ("/console/explore", "No user has recommendations yet"),
            ("/console/actions/snooze", "No incident is open"),
        ):
            response = client.get(path)
            assert (response.status_code, text in text_of(response.text)) == (200, True), path
        assert 'name="target"' not in client.get("/console/actions/snooze").text


def test_outage_of_the_database_is_a_page(database: str, postgres: str, tmp_path: Path) -> None:
    name = str(conninfo_to_dict(database)["dbname"])
    allow = sql.SQL("alter database {} allow_connections {}")
    with (
        serving(database, data_dir=tmp_path) as api,
        browser_of(api, api.key) as client,
        psycopg_connect(postgres, autocommit=True) as server,
    ):
        server.execute(allow.format(sql.Identifier(name), sql.SQL("false")))
        server.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])
        response = client.get("/console/models")
        server.execute(allow.format(sql.Identifier(name), sql.SQL("true")))
    assert response.status_code == 503
    assert "The database does not respond" in response.text


def test_page_of_an_experiment_has_the_figures_of_its_status(
    api: Api,
    signed_in: httpx.Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABASE_URL", api.database)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    assert experiment.main(["status"]) == 0
    state, printed = capsys.readouterr().out.split("4 looks, the last after 2026-11-21\n")
    assert "ease against popularity" in state
    shown = text_of(signed_in.get("/console/experiments/1").text)
    assert "Looks 4 Last day included 2026-11-21" in shown
    figures = re.findall(r"[+-]?\d[\d,]*\.\d+%?", printed)
    assert len(figures) == 3 * 5 + 2 * 2
    assert [figure for figure in figures if figure not in shown] == []
    assert "users with failed requests: 3 of the control, 5 of the treatment" in printed
    assert "users with failed requests guardrail 3 5" in shown
    assert "the treatment recommends much less of the catalogue" in shown
