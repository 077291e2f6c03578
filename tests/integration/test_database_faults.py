"""Postgres is unreachable or a role lacks rights: one error line; the next run reuses the raw pages."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from flows.ingest import main
from tests.conftest import BASE_DAY, MockApi, Query, temporary_database
from tests.database_state import database_state
from tests.ingest_runs import Tables, ingest_days

pytestmark = pytest.mark.usefixtures("quick")

DAY = BASE_DAY
ENDPOINTS = ("tracks", "users", "listen_history")


@pytest.fixture(scope="module")
def clean(
    prefect_server: None, postgres: str, _template: str, _mock_api: MockApi, tmp_path_factory: pytest.TempPathFactory
) -> Tables:
    """The content of every table after a run without faults."""
    with temporary_database(postgres, _template) as database:
        return ingest_days(_mock_api, database, tmp_path_factory.mktemp("clean"), [DAY])


@pytest.fixture
def role(postgres: str) -> Iterator[str]:
    """A role that can connect but has no other right."""
    name = f"role_{uuid4().hex[:8]}"
    run(postgres, "create role {role} login", name)
    yield name
    run(postgres, "drop role {role}", name)


def run(url: str, text: str, role: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL(text).format(role=sql.Identifier(role)))  # type: ignore[arg-type]


def error_line(capture: pytest.CaptureFixture[str]) -> str:
    """The only error line on standard error. Asserts that there is no traceback."""
    out, err = capture.readouterr()
    assert "Traceback" not in out + err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert errors == err.splitlines()[-1:], err
    return errors[0]


def landed_endpoints(data_dir: Path) -> set[str]:
    """The endpoints whose raw pages are completely landed."""
    manifests = [
        path for path in data_dir.glob("landing/*/*/manifest.json") if json.loads(path.read_text())["rows"] > 0
    ]
    return {path.parent.parent.name for path in manifests}


@pytest.mark.parametrize("url", ["wrong port", "no such database", "no such role"])
def test_unreachable_database_keeps_the_raw_pages(
    url: str,
    environment: Path,
    database: str,
    api: MockApi,
    query: Query,
    clean: Tables,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with socket.socket() as closed_port:
        closed_port.bind(("127.0.0.1", 0))
        urls = {
            "wrong port": f"postgresql://user:pa55w0rd@127.0.0.1:{closed_port.getsockname()[1]}/x",
            "no such database": database.replace("/test_", "/not_"),
            "no such role": database.replace("postgres@", "nobody:pa55w0rd@"),
        }
        monkeypatch.setenv("DATABASE_URL", urls[url])

        assert main(["--day", DAY]) == 1

    line = error_line(capfd)
    assert line.startswith(f"error: Postgres {'cannot be reached' if url == 'wrong port' else 'refuses the login'}")
    assert "check DATABASE_URL" in line
    assert "pa55w0rd" not in line
    assert landed_endpoints(environment) == set(ENDPOINTS)
    monkeypatch.setenv("DATABASE_URL", database)
    api.reset()

    assert main(["--day", DAY]) == 0

    assert api.request_counts()["total"] == 0
    assert database_state(query) == clean


# Rights of the login, and the error message with these rights. REPAIRS grants the rest.
GRANTS: dict[str, tuple[tuple[str, ...], str]] = {
    "connect": ((), "this login cannot bring the schema up to date: permission denied for schema ops; "),
    "read": (("grant pg_read_all_data to {role}",), "the login lacks a role: permission denied to set role "),
    "write but publish": (
        (
            "grant pg_read_all_data, moovitamix_ingest to {role}",
            "revoke insert on warehouse.tracks from moovitamix_ingest",
        ),
        "the database role lacks a right: permission denied for table tracks; grant it, then run again",
    ),
}
REPAIRS = ("alter role {role} superuser", "grant insert on warehouse.tracks to moovitamix_ingest")


@pytest.mark.parametrize("grants", GRANTS)
def test_missing_rights_keep_the_raw_pages(
    grants: str,
    role: str,
    environment: Path,
    database: str,
    api: MockApi,
    query: Query,
    clean: Tables,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    statements, message = GRANTS[grants]
    for grant in statements:
        run(database, grant, role)
    monkeypatch.setenv("DATABASE_URL", database.replace("postgres@", f"{role}@"))

    assert main(["--day", DAY]) == 1

    assert error_line(capfd).startswith(f"error: {message}")
    assert landed_endpoints(environment) == set(ENDPOINTS)
    api.reset()
    for statement in REPAIRS:
        run(database, statement, role)

    assert main(["--day", DAY]) == 0

    assert api.request_counts()["total"] == 0
    assert database_state(query) == clean


def test_missing_rights_on_an_empty_database_keep_the_raw_pages(
    role: str,
    environment: Path,
    empty_database: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database.replace("postgres@", f"{role}@"))

    assert main(["--day", DAY]) == 1

    message = "error: this login cannot bring the schema up to date: permission denied for database "
    assert error_line(capfd).startswith(message)
    assert landed_endpoints(environment) == set(ENDPOINTS)
