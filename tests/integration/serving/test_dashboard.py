"""The health page on a real database: content, access, and outages."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psycopg
import pytest

from core.database import WAREHOUSE_LOCK, connect
from recommender.publishing.publication import roll_back
from serving import keys
from serving.dashboard.__main__ import main
from tests.integration.serving.api import Api, go_live, serving, stage
from tests.integration.serving.run_history import MAIL, PERSON, RAW, insert_history, insert_streamed_day
from tests.integration.serving.test_responses import assert_problem

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
INCIDENT = {
    "key": "k",
    "what": "the disk is <b>nearly</b> full",
    "since": "2026-11-22T04:00:00+00:00",
    "kept": "all of it",
    "next": "free some",
    "severity": "critical",
    "delivered_at": None,
}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data folder with a clock at noon of the last day."""
    (tmp_path / "clock").write_text(NOW.isoformat())
    return tmp_path


@contextmanager
def page_of(database: str, data_dir: Path) -> Iterator[Api]:
    with serving(database, data_dir=data_dir, clock_file=data_dir / "clock") as api:
        yield api


def load_page(api: Api) -> str:
    """Load the page, and wait until its charts are rendered."""
    deadline = time.monotonic() + 600
    while True:
        response = api.get("/dashboard")
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        if "not ready yet" not in response.text:
            return response.text
        assert time.monotonic() < deadline


def heading(html: str) -> str:
    (text,) = re.findall(r"<h1.*</span>(.*?)</h1>", html)
    return str(text)


def text_of(html: str) -> str:
    inline = re.sub(r"<style>.*?</style>|</?span[^>]*>", "", html, flags=re.S)
    return " ".join(re.sub(r"<[^>]*>", " ", inline).split())


def write_incident(data_dir: Path) -> None:
    (data_dir / "alerts").mkdir()
    (data_dir / "alerts" / "open.json").write_text(json.dumps([INCIDENT]))


def test_before_the_first_ingest(database: str, data_dir: Path) -> None:
    with page_of(database, data_dir) as api:
        html = load_page(api)
    assert heading(html) == "Needs attention"
    assert "No data was ingested yet" in html
    assert "<svg" not in html


def test_one_evaluated_day_draws_all_charts(database: str, data_dir: Path) -> None:
    with connect(database) as connection:
        insert_history(connection, NOW, 1)
    with page_of(database, data_dir) as api:
        html = load_page(api)
    assert heading(html) == "Healthy"
    assert html.count('role="img"') == 2 * 8


def test_streaming_is_shown_while_a_consumer_reports_or_a_broker_is_set(database: str, data_dir: Path) -> None:
    with connect(database) as connection:
        insert_history(connection, NOW, 1)
        with page_of(database, data_dir) as api:
            assert "Streaming" not in load_page(api)
        with serving(
            database, data_dir=data_dir, clock_file=data_dir / "clock", stream_bootstrap_servers="127.0.0.1:9"
        ) as api:
            html = load_page(api)
            assert heading(html) == "Needs attention"
            assert "No consumer is running. None reported in the last 24 hours." in text_of(html)
        insert_streamed_day(connection, NOW)
    with page_of(database, data_dir) as api:
        html = load_page(api)
    assert heading(html) == "Healthy"
    text = text_of(html)
    assert "2 consumers are running. Lag: 0.02 s." in text
    assert "From play to database: median 0.02 s, p99 0.18 s." in text
    assert "messages; 2,880 rejected" in text


def test_page_shows_thirty_days_and_no_personal_data(database: str, data_dir: Path) -> None:
    with connect(database) as connection:
        insert_history(connection, NOW, 400)
    with page_of(database, data_dir) as api:
        html = load_page(api)
    assert heading(html) == "Healthy"
    days = set(re.findall(r"2026-\d\d-\d\d|2025-\d\d-\d\d", html))
    assert len(days) == 30
    assert "2026-10-24" in days and "2026-10-23" not in days
    for secret in (PERSON, MAIL, RAW):
        assert secret not in html
    assert "3 warning" not in html and "rule 1 of id" in text_of(html)


def test_batch_of_a_future_day_is_hidden_by_a_current_batch(database: str, data_dir: Path) -> None:
    """The batch comes from a run with a clock that was ahead."""
    with connect(database) as connection:
        insert_history(connection, NOW, 3)
        connection.execute(
            "insert into ops.batches (batch_id, endpoint, day, revision, source, status, started_at, finished_at)"
            " values ('tracks-2027-06-01', 'tracks', '2027-06-01', 1, 's', 'blocked', %(at)s, %(at)s)",
            {"at": NOW + timedelta(days=191)},
        )
    with page_of(database, data_dir) as api:
        html = load_page(api)
    assert heading(html) == "Healthy"
    assert "2027" not in html


def test_problems_are_shown(database: str, data_dir: Path) -> None:
    with connect(database) as connection:
        insert_history(connection, NOW, 5)
        connection.execute("update ops.batches set status = 'blocked', reason = '<i>why</i>' where endpoint = 'tracks'")
        connection.execute("insert into ops.runs (flow, day, started_at) values ('ingest', %s, %s)", [NOW, NOW])
        connection.execute(
            "insert into ops.acceptances (batch_id, run_id, reason, accepted_by, accepted_at, waived)"
            " select %s, max(run_id), 'a <u>known</u> gap', 'ada', %s, '[]' from ops.runs",
            [f"users-{NOW.date()}", NOW],
        )
        connection.execute("insert into ops.runs (flow, started_at) values ('retrain', %s)", [NOW])
        write_incident(data_dir)
        connection.execute("select pg_advisory_lock(%s)", [WAREHOUSE_LOCK])  # the ingest runs
        with page_of(database, data_dir) as api:
            html = load_page(api)
    assert heading(html) == "Broken"
    text = text_of(html)
    assert "tracks-2026-11-22 is blocked" in text
    assert "&lt;i&gt;why&lt;/i&gt;" in html and "&lt;b&gt;nearly&lt;/b&gt;" in html
    assert "Running now: ingest" in text
    assert "the batch was accepted: a &lt;u&gt;known&lt;/u&gt; gap" in text
    assert "retrain (run 17), started 2026-11-22 12:00 UTC: it was killed" in text


def test_failed_revision_does_not_hide_the_published_revision(database: str, data_dir: Path) -> None:
    with connect(database) as connection:
        insert_history(connection, NOW, 2)
        connection.execute(
            "insert into ops.batches (batch_id, endpoint, day, revision, source, status, started_at, finished_at)"
            " values ('tracks-2026-11-21-r2', 'tracks', '2026-11-21', 2, 's', 'failed', %(at)s, %(at)s)",
            {"at": NOW - timedelta(days=1)},
        )
    with page_of(database, data_dir) as api:
        text = text_of(load_page(api))
    assert "2026-11-21 1,000 1,000 1,000" in text


def test_failed_expectation_is_described_with_its_figure(database: str, data_dir: Path) -> None:
    description = "the share of rejected rows 12.0 % is above 5.0 %"
    with connect(database) as connection:
        insert_history(connection, NOW, 1)
        connection.execute("update ops.expectation_results set description = %s where not success", [description])
    with page_of(database, data_dir) as api:
        text = text_of(load_page(api))
    assert description in text
    assert "rule 1" not in text


def test_rollback_leads_the_decisions(database: str, data_dir: Path) -> None:
    with connect(database) as connection:
        first = insert_history(connection, NOW, 2)
        go_live(connection, stage(connection, {900: [3, 4]}))
        roll_back(connection, first, now=NOW, why="the new lists were worse")
    with page_of(database, data_dir) as api:
        html = load_page(api)
    decisions = text_of(html[html.index('id="decisions"') :])
    assert f": publication {first} by model" in decisions
    newest = decisions.partition("Reason 2026-11-22 ")[2]
    assert newest.startswith(f"rollback publication {first} is live again the new lists were worse")


def test_page_needs_a_key_with_its_scope(world: Api) -> None:
    key = world.new_key("dashboard:read")
    page = f"{world.url}/dashboard"

    def get_page(**options: object) -> httpx.Response:
        return httpx.get(page, timeout=60, **options)  # type: ignore[arg-type]

    assert_problem(get_page(), 401, "no-key")
    assert get_page().headers["www-authenticate"] == 'Basic realm="moovitamix"'
    assert get_page(auth=("anyone", key.text)).status_code == 200
    assert get_page(headers={"Authorization": f"Bearer {key.text}"}).status_code == 200
    assert get_page(headers={"X-API-Key": key.text}).status_code == 200
    assert_problem(get_page(auth=("anyone", "mm_nonsense")), 401, "wrong-key")
    key_without_scope = world.new_key(*(scope for scope in keys.SCOPES if scope != "dashboard:read"))
    assert_problem(get_page(auth=("anyone", key_without_scope.text)), 403, "missing-scope")
    with connect(world.database) as connection:
        keys.revoke(connection, key.key_id, NOW)
    deadline = time.monotonic() + 60
    while get_page(auth=("anyone", key.text)).status_code == 200:
        assert time.monotonic() < deadline
    assert_problem(get_page(auth=("anyone", key.text)), 401, "wrong-key")
    metrics_response = httpx.get(f"{world.url}/metrics", auth=("anyone", world.key), timeout=60)
    assert_problem(metrics_response, 401, "wrong-key")
    assert metrics_response.headers["www-authenticate"].startswith("Bearer ")


def test_security_headers_are_set(world: Api) -> None:
    headers = world.get("/dashboard").headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "frame-ancestors 'none'" in policy
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
    assert (headers["referrer-policy"], headers["x-frame-options"]) == ("no-referrer", "DENY")
    assert "set-cookie" not in headers


def test_page_during_a_database_outage(database: str, postgres: str, data_dir: Path) -> None:
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    write_incident(data_dir)
    with page_of(database, data_dir) as api, psycopg.connect(postgres, autocommit=True) as server:
        assert heading(load_page(api)) == "Broken"  # because of the incident
        invalid_key = {"Authorization": f"Bearer mm_{'0' * 12}_{'0' * 64}"}
        server.execute(f'alter database "{name}" allow_connections false')
        server.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])
        deadline = time.monotonic() + 60  # the page is cached for a moment
        while api.get("/dashboard").status_code == 200:
            assert time.monotonic() < deadline
        for headers, sees_incidents in ((dict(api.client.headers), True), (invalid_key, False)):
            response = httpx.get(f"{api.url}/dashboard", headers=headers, timeout=60)
            assert response.status_code == 503
            assert int(response.headers["retry-after"]) >= 1
            assert "The database does not respond" in response.text
            assert ("&lt;b&gt;nearly" in response.text) == sees_incidents
            assert ("Error: <code>" in response.text) == sees_incidents
        server.execute(f'alter database "{name}" allow_connections true')
        deadline = time.monotonic() + 60
        while api.get("/dashboard").status_code != 200:
            assert time.monotonic() < deadline, "did not recover"


def test_command_writes_the_page(
    database: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.setenv("DATA_DIR", str(data_dir))
    monkeypatch.setenv("CLOCK_FILE", str(data_dir / "clock"))
    output = data_dir / "health.html"
    assert main(["--output", str(output)]) == 1
    assert "Needs attention" in capsys.readouterr().err
    with connect(database) as connection:
        insert_history(connection, NOW, 2)
    assert main(["--output", str(output)]) == 0
    assert heading(output.read_text()) == "Healthy"
    assert main(["--output", str(data_dir / "nowhere" / "health.html")]) == 2
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    assert main(["--output", str(output)]) == 1
    assert "The database does not respond" in output.read_text()


def test_missing_schema_is_not_reported_as_an_outage(
    empty_database: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database)
    monkeypatch.setenv("DATA_DIR", str(data_dir))
    assert main(["--output", str(data_dir / "health.html")]) == 1
    assert "The database rejects the queries of this page" in (data_dir / "health.html").read_text()
