"""Postgres out of reach, or a role without rights: one line, the raw pages kept, and the next run does not fetch."""

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
from tests.conftest import BASE_DAY, MockApi, Query
from tests.database_state import database_state
from tests.ingest_runs import Tables, ingest_days, temporary_database

pytestmark = pytest.mark.usefixtures("quick")

DAY = BASE_DAY
ENDPOINTS = ("tracks", "users", "listen_history")


@pytest.fixture(scope="module")
def clean(
    prefect_server: None, postgres: str, _template: str, _mock_api: MockApi, tmp_path_factory: pytest.TempPathFactory
) -> Tables:
    """Every table after one run without faults."""
    with temporary_database(postgres, _template) as database:
        return ingest_days(_mock_api, database, tmp_path_factory.mktemp("clean"), [DAY])


@pytest.fixture
def role(postgres: str) -> Iterator[str]:
    """A role that may connect, and nothing else."""
    name = f"role_{uuid4().hex[:8]}"
    run(postgres, "create role {role} login", name)
    yield name
    run(postgres, "drop role {role}", name)


def run(url: str, text: str, role: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL(text).format(role=sql.Identifier(role)))  # type: ignore[arg-type]


def one_line(told: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error that is ours; there is no traceback, Prefect's lines included."""
    out, err = told.readouterr()
    assert "Traceback" not in out + err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert errors == err.splitlines()[-1:], err
    return errors[0]


def kept(data_dir: Path) -> set[str]:
    """The endpoints whose raw pages are landed, all of them."""
    whole = [path for path in data_dir.glob("landing/*/*/manifest.json") if json.loads(path.read_text())["rows"] > 0]
    return {path.parent.parent.name for path in whole}


@pytest.mark.parametrize("url", ["wrong port", "no such database", "no such role"])
def test_unreachable(
    url: str,
    environment: Path,
    database: str,
    api: MockApi,
    query: Query,
    clean: Tables,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        urls = {
            "wrong port": f"postgresql://someone:pa55w0rd@127.0.0.1:{taken.getsockname()[1]}/x",
            "no such database": database.replace("/test_", "/not_"),
            "no such role": database.replace("postgres@", "nobody:pa55w0rd@"),
        }
        monkeypatch.setenv("DATABASE_URL", urls[url])

        assert main(["--day", DAY]) == 1

    line = one_line(capfd)
    assert line.startswith(f"error: Postgres {'cannot be reached' if url == 'wrong port' else 'refuses the login'}")
    assert "check DATABASE_URL" in line
    assert "pa55w0rd" not in line
    assert kept(environment) == set(ENDPOINTS)
    monkeypatch.setenv("DATABASE_URL", database)
    api.reset()

    assert main(["--day", DAY]) == 0

    assert api.request_counts()["total"] == 0
    assert database_state(query) == clean


# What a login may do, each time a little more, and what is then said; it is never enough. Last, what mends it.
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
MENDING = ("alter role {role} superuser", "grant insert on warehouse.tracks to moovitamix_ingest")


@pytest.mark.parametrize("grants", GRANTS)
def test_a_role_without_rights(
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
    statements, said = GRANTS[grants]
    for grant in statements:
        run(database, grant, role)
    monkeypatch.setenv("DATABASE_URL", database.replace("postgres@", f"{role}@"))

    assert main(["--day", DAY]) == 1

    assert one_line(capfd).startswith(f"error: {said}")
    assert kept(environment) == set(ENDPOINTS)
    api.reset()
    for mend in MENDING:
        run(database, mend, role)

    assert main(["--day", DAY]) == 0

    assert api.request_counts()["total"] == 0
    assert database_state(query) == clean


def test_a_role_without_rights_on_an_empty_database(
    role: str,
    environment: Path,
    empty_database: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database.replace("postgres@", f"{role}@"))

    assert main(["--day", DAY]) == 1

    said = "error: this login cannot bring the schema up to date: permission denied for database "
    assert one_line(capfd).startswith(said)
    assert kept(environment) == set(ENDPOINTS)
