"""`make up` refuses an unusable Prefect database with one line that says what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from services.local_services import ServiceProcess
from services.prefect_database import PrefectDatabaseError, _supported_revisions, check_databases


def create_database(path: Path, revision: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("create table alembic_version (version_num text)")
        database.execute("insert into alembic_version values (?)", [revision])
        database.execute("create table filler (text text)")
        database.executemany("insert into filler values (?)", [("x" * 500,)] * 100)
        database.commit()


def truncated(path: Path) -> None:
    create_database(path, min(_supported_revisions()))
    path.write_bytes(path.read_bytes()[:9_000])


def service_processes(path: Path) -> list[ServiceProcess]:
    settings = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{path}"}
    return [
        ServiceProcess("postgres", ("postgres",)),
        ServiceProcess("prefect-server", ("prefect",), environment=settings),
    ]


@pytest.mark.parametrize(
    ("create_file", "expected_text"),
    [
        (lambda path: create_database(path, "ffffffffffff"), "is from a newer Prefect than the installed 3."),
        (truncated, "is damaged"),
        (lambda path: path.write_text("no database"), "is damaged"),
        (lambda path: path.mkdir(), "cannot be opened"),
    ],
)
def test_unusable_database_is_refused(
    create_file: Callable[[Path], object], expected_text: str, tmp_path: Path
) -> None:
    path = tmp_path / "server.db"
    create_file(path)
    with pytest.raises(PrefectDatabaseError) as caught:
        check_databases(service_processes(path))
    message = str(caught.value)
    assert message.startswith(f"{path}, the history of Prefect's server, {expected_text}")
    assert message.endswith("or move it away to start without history: make up creates the deployments again")
    assert "\n" not in message


def test_locked_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "server.db"
    create_database(path, min(_supported_revisions()))
    with closing(sqlite3.connect(path, isolation_level=None)) as locking_connection:
        locking_connection.execute("begin exclusive")
        with pytest.raises(PrefectDatabaseError, match="cannot be opened"):
            check_databases(service_processes(path))


def test_every_revision_of_the_installed_prefect_is_accepted(tmp_path: Path) -> None:
    assert len(_supported_revisions()) > 50
    for number, revision in enumerate(_supported_revisions()):
        create_database(path := tmp_path / f"{number}.db", revision)
        check_databases(service_processes(path))


def test_missing_file_and_other_databases_are_accepted(tmp_path: Path) -> None:
    check_databases(service_processes(tmp_path / "server.db"))
    check_databases([ServiceProcess("prefect-server", ("prefect",), environment={})])
