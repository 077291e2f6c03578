"""Complete runs with hostile shell variables and database defaults give the same values in the same database."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from core import embedded_postgres
from core.sessions import open_connection
from core.settings import load_settings
from flows import ingest, monitor, recommend
from services import backup
from serving.database import ensure_serving_database
from tests import source_stub
from tests.conftest import ROOT, TEMPORARY_FOLDER, temporary_database
from tests.database_state import database_state
from tests.hostile_settings import DATABASE_DEFAULTS
from tests.ingest_runs import open_query
from tests.integration.serving.api import free_port, serving
from tests.publications import quick_candidates, quick_settings

_TITLE = "Déjà vu: 夜に駆ける 🎵 \\ 'x'"
_DAYS = ("2026-11-22", "2026-11-23")
# Columns that do not depend on run numbers or times.
_RECOMMENDATIONS = "select user_id, rank, track_id, score from ml.current_recommendations order by 1, 2"


@dataclass(frozen=True)
class Outcome:
    """The results of two days, read by an undisturbed session."""

    tables: dict[str, Any]
    recommendations: list[tuple[Any, ...]]
    response: list[dict[str, Any]]
    restored: dict[str, Any]


def _source() -> source_stub.SourceStub:
    tracks = [source_stub.track(number, name=f"{_TITLE} {number}") for number in range(1, 31)]
    users = [source_stub.user(number, first_name="Zoë") for number in range(1, 13)]
    plays = [
        source_stub.session(
            1 + number % 12, [1 + (number * step) % 30 for step in (1, 7, 11)], created_at=at, updated_at=at
        )
        for number in range(60)
        if (at := f"2026-11-{1 + number // 3:02d}T{number % 24:02d}:30:00.{number:06d}")
    ]
    return source_stub.SourceStub(tracks=tracks, users=users, listen_history=plays)


def _run_two_days(set_variables: Callable[[], object], backup_file: Path) -> Outcome:
    """Run two ingests, recommend, monitor, the serving API with feedback, backup and restore."""
    with source_stub.serve_source(_source()) as api, pytest.MonkeyPatch.context() as patch, quick_candidates():
        patch.setenv("MOOVITAMIX_API_URL", api.url)

        def run(main: Callable[[list[str]], int], *arguments: str) -> None:
            set_variables()
            assert main(list(arguments)) == 0

        run(ingest.main, "--day", _DAYS[0])
        api.listen_history[0]["items"] = [5, 6]
        api.listen_history.append(source_stub.session(1, [1, 2], created_at="2026-11-22T10:00:00.000001"))
        run(ingest.main, "--day", _DAYS[1])
        run(recommend.main)
        run(monitor.main)
        set_variables()
        url = ensure_serving_database(load_settings())
        with serving(url) as client:
            tracks = client.read(1, 3).raise_for_status().json()["recommendations"]
            assert client.get("/dashboard").status_code == 200
            assert client.send_feedback(
                user_id=1, track_id=tracks[0]["track_id"], useful=True, publication_id=1
            ).is_success
        tables, recommendations = _read(url, api.url)
        run(backup.main, "make", str(backup_file))
        patch.setenv("DATABASE_URL", url)  # with this URL a restore needs no exclusive use of the embedded server
        run(backup.main, "restore", str(backup_file), "--force")
        restored, _ = _read(url, api.url)
    return Outcome(tables, recommendations, tracks, restored)


def _read(url: str, source_url: str) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    """All tables without the port of the source, and the live recommendations."""
    with open_query(url) as query:
        tables = {
            table: [tuple(str(value).replace(source_url, "the source") for value in row) for row in rows]
            for table, rows in database_state(query).items()
        }
        return tables, query(_RECOMMENDATIONS)


def _assert_same(outcome: Outcome, expected: Outcome) -> None:
    for table, rows in expected.tables.items():
        assert outcome.tables[table] == rows, table
    assert outcome == expected


@pytest.fixture(scope="module")
def other_server() -> Iterator[int]:
    """Another server on this machine that accepts every login on its port."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir=TEMPORARY_FOLDER))
    folder.chmod(0o755)
    port = free_port()
    embedded_postgres.start(folder)
    embedded_postgres.stop_if_unused(folder)
    data = folder / "postgres"
    options = f"-h 127.0.0.1 -p {port} -k {data}"
    embedded_postgres._run(folder, "pg_ctl", "-D", str(data), "-l", str(data / "log"), "-o", options, "-w", "start")
    yield port
    embedded_postgres._run(folder, "pg_ctl", "-D", str(data), "-m", "immediate", "stop")
    shutil.rmtree(folder, ignore_errors=True)


def _variables_for_other_server(port: int, folder: Path) -> dict[str, str]:
    """Shell variables that point to the other server and set other formats."""
    service = folder / "services.conf"
    service.write_text(f"[other]\nhostaddr=127.0.0.1\nport={port}\nuser=postgres\ndbname=postgres\n")
    return {
        "PGHOST": "127.0.0.1",
        "PGHOSTADDR": "127.0.0.1",
        "PGPORT": str(port),
        "PGUSER": "postgres",
        "PGDATABASE": "postgres",
        "PGPASSWORD": "wrong",
        "PGSERVICE": "other",
        "PGSERVICEFILE": str(service),
        "PGSSLMODE": "prefer",
        "PGDATESTYLE": "German",
        "PGTZ": "Asia/Tokyo",
        "PGCLIENTENCODING": "LATIN1",
        "PGGEQO": "off",
        "PGOPTIONS": "-c intervalstyle=sql_standard -c bytea_output=escape -c search_path=public"
        " -c default_transaction_read_only=on -c statement_timeout=1ms",
    }


@pytest.fixture
def settings(prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """A function that sets the settings of a run (embedded server if the URL is empty) and returns DATA_DIR."""
    folders: list[Path] = []

    def set_settings(database: str) -> Path:
        data_dir = Path(tempfile.mkdtemp(prefix="pg-"))  # Postgres's user cannot enter pytest's own folder
        folders.append(data_dir)
        for name, value in (quick_settings(database, data_dir) | {"READ_TIMEOUT_SECONDS": "5"}).items():
            monkeypatch.setenv(name, value)
        return data_dir

    monkeypatch.setenv("PATH", f"{embedded_postgres.programs_folder()}{os.pathsep}{os.environ['PATH']}")
    yield set_settings
    for folder in folders:
        embedded_postgres.stop_if_unused(folder)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def new_database(postgres: str, _template: str) -> Callable[[], AbstractContextManager[str]]:
    """A function that creates a database with the migrated schema and no rows."""
    return lambda: temporary_database(postgres, _template)


def test_hostile_variables_and_defaults_change_no_result(
    new_database: Callable[[], AbstractContextManager[str]],
    other_server: int,
    settings: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with new_database() as url:
        settings(url)
        expected = _run_two_days(dict, tmp_path / "undisturbed.tar")
    assert expected.restored == expected.tables
    assert [track["title"] for track in expected.response] == [
        f"{_TITLE} {track['track_id']}" for track in expected.response
    ]

    with new_database() as url:
        settings(url)
        with open_connection(url) as connection:
            for name, value in DATABASE_DEFAULTS.items() - {("session_replication_role", "'replica'")}:
                text = sql.SQL("alter role current_user in database {} set {} = {}")
                names = sql.Identifier(connection.info.dbname), sql.Identifier(name), sql.SQL(value)
                connection.execute(text.format(*names))
        _assert_same(_run_two_days(dict, tmp_path / "defaults.tar"), expected)

    settings("")
    variables = _variables_for_other_server(other_server, tmp_path)

    def set_variables() -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    _assert_same(_run_two_days(set_variables, tmp_path / "variables.tar"), expected)
    set_variables()
    time_zone_check = "'2026-11-22 12:00+02'::timestamptz::text = '2026-11-22 10:00:00+00'"
    query = f"select name, {time_zone_check} from warehouse.tracks where id = 1;"
    result = subprocess.run(
        [sys.executable, "-m", "cli", "psql", "--owner"], cwd=ROOT, input=query, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert f"{_TITLE} 1 | t" in result.stdout
    assert result.stderr == ""
    with open_connection(f"postgresql://postgres@127.0.0.1:{other_server}/postgres") as connection:
        assert connection.execute("select rolname from pg_roles where rolname ~ 'moovitamix'").fetchall() == []
        assert connection.execute("select nspname from pg_namespace where nspname !~ '^pg_'").fetchall() == [
            ("public",),
            ("information_schema",),
        ]
