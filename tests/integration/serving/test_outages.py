"""Database outages: the API reports them within seconds and recovers without a restart."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from core import embedded_postgres
from core.database import connect, migrate
from tests.conftest import ROOT
from tests.integration.serving.api import Api, free_port, go_live, populate, serving, stage
from tests.integration.serving.test_responses import assert_problem


@pytest.fixture(scope="module")
def own_server() -> Iterator[Path]:
    """A Postgres server of these tests, with a publication."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    folder.chmod(0o755)
    url = embedded_postgres.start(folder)
    migrate(url)
    with connect(url) as connection:
        populate(connection)
        go_live(connection, stage(connection, {5: [1, 2]}))
    yield folder
    embedded_postgres.stop_if_unused(folder)
    shutil.rmtree(folder, ignore_errors=True)


def assert_recovers(api: Api, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while api.read(5).status_code != 200:
        assert time.monotonic() < deadline, "did not recover"
        time.sleep(0.05)


def assert_unavailable(api: Api) -> None:
    for path in ("/v1/users/5/recommendations", "/v1/tracks/5/similar"):
        response = api.get(path)
        problem = assert_problem(response, 503, "database-away")
        assert int(response.headers["retry-after"]) >= 1
        assert "postgres" not in json.dumps(problem).lower()
    health = httpx.get(f"{api.url}/health", timeout=60)
    assert_problem(health, 503, "database-away")
    assert health.json()["live"] is True
    assert health.json()["database"] is health.json()["ready"] is False
    assert httpx.get(f"{api.url}/health/live", timeout=60).status_code == 200


def test_database_stop_and_start(own_server: Path) -> None:
    url = embedded_postgres.start(own_server)
    with serving(url) as api:
        assert api.read(5).status_code == 200
        embedded_postgres.stop_if_unused(own_server)
        time.sleep(0.4)  # longer than keys are cached
        assert_unavailable(api)
        feedback = api.send_feedback(user_id=5, track_id=1, useful=True)
        assert_problem(feedback, 503, "database-away")
        metrics = api.get("/metrics")  # a cached key still works for metrics
        assert metrics.status_code == 200
        assert "moovitamix_serving_database_up 0.0" in metrics.text
        time.sleep(3)  # pauses between attempts must not grow
        assert embedded_postgres.start(own_server) == url
        assert_recovers(api, seconds=15)
        assert api.send_feedback(user_id=5, track_id=1, useful=True).status_code in (200, 201)
        assert httpx.get(f"{api.url}/health", timeout=60).status_code == 200


def test_api_starts_while_the_database_is_down(own_server: Path) -> None:
    url = embedded_postgres.start(own_server)
    with serving(url) as api:
        key = api.key
    embedded_postgres.stop_if_unused(own_server)
    with serving(url, key=key) as api:
        assert_unavailable(api)
        embedded_postgres.start(own_server)
        assert_recovers(api)


def test_hanging_server_is_reported_in_time(own_server: Path) -> None:
    url = embedded_postgres.start(own_server)
    with serving(url) as api:
        assert_recovers(api)
        postmaster = psutil.Process(int((own_server / "postgres/postmaster.pid").read_text().split()[0]))
        processes = [*postmaster.children(), postmaster]
        for process in processes:
            process.suspend()
        try:
            time.sleep(0.4)
            assert_unavailable(api)
        finally:
            for process in processes:
                process.resume()
        assert_recovers(api)


def test_closed_connections_cause_no_error(own_server: Path) -> None:
    url = embedded_postgres.start(own_server)
    with serving(url) as api, psycopg.connect(url, autocommit=True) as connection:
        for _ in range(5):
            assert_recovers(api)
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'moovitamix serving'"
            )
            time.sleep(0.05)
            assert api.read(5).status_code == 200


def test_locked_table_is_reported_in_time_and_recovers(own_server: Path) -> None:
    url = embedded_postgres.start(own_server)
    with serving(url) as api, psycopg.connect(url) as connection:
        assert_recovers(api)
        connection.execute("lock table ml.recommendations in access exclusive mode")
        assert_problem(api.read(5), 503, "database-away")
        connection.rollback()
        assert_recovers(api)


@pytest.mark.usefixtures("_template")  # creates the roles
def test_wrong_database_encoding_is_logged(postgres: str, caplog: pytest.LogCaptureFixture) -> None:
    with connect(postgres) as server:
        server.execute("create database serving_latin1 template template0 encoding 'LATIN1' locale 'C'")
    try:
        with serving(postgres.replace("/postgres?", "/serving_latin1?"), key="mm_any") as api:
            assert api.get("/health").status_code == 503
    finally:
        with connect(postgres) as server:
            server.execute("drop database serving_latin1 with (force)")
    messages = [record.getMessage() for record in caplog.records if record.name == "serving.database"]
    assert len(messages) == 1
    assert "has the encoding LATIN1, but must have UTF8; create another with" in messages[0]


def test_api_waits_for_the_schema(empty_database: str) -> None:
    with serving(empty_database, key="mm_000000000000_" + "0" * 64) as api:
        assert_problem(api.read(5), 503, "database-away")
        assert httpx.get(f"{api.url}/health", timeout=60).json()["ready"] is False
        migrate(empty_database)
        deadline = time.monotonic() + 60
        while not httpx.get(f"{api.url}/health", timeout=60).json()["database"]:
            assert time.monotonic() < deadline
        assert_problem(api.read(5), 401, "wrong-key")


def test_process_logs_without_secrets_and_stops_on_sigterm(own_server: Path, tmp_path: Path) -> None:
    url, port = embedded_postgres.start(own_server), free_port()
    with serving(url) as api:
        key = api.key
    environment = os.environ | {"DATABASE_URL": url, "SERVING_PORT": str(port), "DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "serving"]
    log = tmp_path / "log"
    with log.open("w") as output, subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output) as process:
        try:
            with httpx.Client(transport=httpx.HTTPTransport(retries=50), timeout=60) as client:
                _until_it_listens(client, port)
                headers = {"X-API-Key": key}
                assert client.get(f"http://127.0.0.1:{port}/v1/users/5/recommendations", headers=headers).is_success
                problem = client.get(f"http://127.0.0.1:{port}/v1/users/404/recommendations", headers=headers).json()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    request_lines = [line for line in lines if line["from"] == "serving.requests"]
    template = "/v1/users/{user_id}/recommendations"
    assert [(line["route"], line["status"], line["key_id"]) for line in request_lines[-2:]] == [
        (template, 200, key[3:15]),
        (template, 404, key[3:15]),
    ]
    assert request_lines[-1]["instance"] == problem["instance"]
    assert all(line["ms"] >= 0 for line in request_lines)
    assert key[16:] not in log.read_text()
    assert "Ada" not in log.read_text()


def _until_it_listens(client: httpx.Client, port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            assert client.get(f"http://127.0.0.1:{port}/health/live").is_success
            return
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
