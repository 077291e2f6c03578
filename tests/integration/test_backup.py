"""Backups by destroying and restoring: every row, right and key comes back, or nothing is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from core import embedded_postgres
from core.database import connect, warehouse_lock
from core.roles import RECOMMENDER, SERVING
from core.settings import Settings
from core.side_schemas import SCHEMAS
from flows import recommend
from services.backup import main
from services.backup_file import prune
from tests.conftest import ROOT
from tests.publications import quick_candidates, quick_settings
from tests.warehouse_data import fill_warehouse, two_taste_groups

# Python has had the filter since 3.11.4.
ONLY_DATA: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
Capture = pytest.CaptureFixture[str]
State = dict[str, tuple[int, str]]


@pytest.fixture
def place(
    database: str, prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Path]]:
    """A database with a live publication and its data folder; Postgres's programs are on the PATH."""
    for name in [name for name in os.environ if name.startswith(("THRESHOLD_", "RETRAIN_", "MOOVITAMIX_"))]:
        monkeypatch.delenv(name)
    for name, value in quick_settings(database, tmp_path / "data").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{embedded_postgres.programs_folder()}{os.pathsep}{os.environ['PATH']}")
    fill_warehouse(database, two_taste_groups(users=40, tracks=40))
    with quick_candidates():
        assert recommend.main([]) == 0
        for number in (1, 2):  # the model by genre has no file
            path = tmp_path / "data" / "models" / f"{number}.model"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(bytes([number]) * 10_000)
        yield database, tmp_path / "data"


def state(database: str) -> State:
    """Rows of each table and a hash of them, whatever their order."""
    with connect(database) as connection:
        names = connection.execute(
            "select schemaname, tablename from pg_tables where schemaname = any(%s) and schemaname <> 'staging'"
            " order by 1, 2",
            [list(SCHEMAS)],
        ).fetchall()
        ask = "select count(*), coalesce(md5(string_agg(t::text, e'\\n' order by t::text)), '') from {} as t"
        return {
            ".".join(name): connection.execute(sql.SQL(ask).format(sql.Identifier(*name))).fetchone() or (0, "")
            for name in names
        }


def structure(database: str) -> list[tuple[Any, ...]]:
    """Constraints, partitions, indexes, views and rights."""
    ours = [name for name in SCHEMAS if name != "staging"]
    with connect(database) as connection:
        return [
            row
            for ask in (
                "select 'constraint', conrelid::regclass::text, pg_get_constraintdef(c.oid) from pg_constraint as c"
                " where connamespace::regnamespace::text = any(%s)",
                "select 'partition', inhparent::regclass::text, inhrelid::regclass::text from pg_inherits"
                " join pg_class on oid = inhrelid where relnamespace::regnamespace::text = any(%s)",
                "select 'index', tablename::text, indexdef from pg_indexes where schemaname = any(%s)",
                "select 'view', viewname::text, definition from pg_views where schemaname = any(%s)",
                "select 'right', oid::regclass::text, (select string_agg(a::text, ' ' order by a::text)"
                " from unnest(relacl) as a) from pg_class where relnamespace::regnamespace::text = any(%s)",
                "select 'schema', nspname::text, nspacl::text from pg_namespace where nspname = any(%s)",
            )
            for row in sorted(connection.execute(ask, [ours]).fetchall(), key=repr)  # type: ignore[arg-type]
        ]


def destroy(database: str, data_dir: Path) -> None:
    """Everything that a backup is for."""
    with connect(database) as connection:
        connection.execute(f"drop schema {', '.join(SCHEMAS)} cascade")  # type: ignore[arg-type]
    for path in (data_dir / "models").iterdir():
        path.unlink()


def models(data_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (data_dir / "models").iterdir()}


def error_of(capture: Capture) -> str:
    """The one line that it ended with."""
    err = capture.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_what_was_destroyed_comes_back(place: tuple[str, Path], tmp_path: Path, capfd: Capture) -> None:
    database, data_dir = place
    before, shape, files = state(database), structure(database), models(data_dir)
    assert files
    assert {"partition", "constraint", "right"} <= {kind for kind, *_ in shape}
    file = tmp_path / "kept" / "mine.tar"

    assert main(["make", str(file)]) == 0
    assert file.stat().st_mode & 0o077 == 0
    assert os.listdir(file.parent) == ["mine.tar"]
    assert main(["make", str(file)]) == 2
    assert "exists already" in error_of(capfd)
    destroy(database, data_dir)
    assert state(database) == {}
    assert main(["restore", str(file)]) == 0

    out = capfd.readouterr().out
    assert "2 model files, schema 0" in out
    assert "all rows are counted" in out
    assert state(database) == before
    assert structure(database) == shape
    assert models(data_dir) == files
    with psycopg.connect(database, autocommit=True, options=f"-c role={SERVING}") as connection:
        assert connection.execute("select count(*) > 0 from ml.current_recommendations").fetchone() == (True,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select email from warehouse.users")

    assert main(["restore", str(file)]) == 1
    assert "FORCE=yes" in error_of(capfd)
    assert recommend.main([]) == 0  # what is restored can be worked with
    assert state(database) != before
    assert main(["restore", str(file), "--force"]) == 0
    assert state(database) == before
    assert structure(database) == shape


def test_what_is_not_whole_is_refused_and_touches_nothing(
    place: tuple[str, Path], tmp_path: Path, capfd: Capture
) -> None:
    database, _ = place
    file = tmp_path / "whole.tar"
    assert main(["make", str(file)]) == 0
    before, content = state(database), file.read_bytes()
    dump = content.index(b"PGDMP")

    damages = {
        "cut": content[: len(content) // 2],
        "without its end": content[: content.rindex(b"SHA256SUMS")],
        "empty": b"",
        "one bit": content[: dump + 900] + bytes([content[dump + 900] ^ 1]) + content[dump + 901 :],
        "a count": content.replace(b'"warehouse.users": 40', b'"warehouse.users": 41'),
        "a path": content.replace(b"models/", b"../els/"),
    }
    for what, damaged in damages.items():
        assert damaged != content, what
        (tmp_path / "damaged.tar").write_bytes(damaged)
        capfd.readouterr()
        assert main(["restore", str(tmp_path / "damaged.tar"), "--force"]) == 1, what
        assert "damaged or truncated" in error_of(capfd)
    assert main(["restore", str(tmp_path / "none.tar")]) == 2
    assert "does not exist" in error_of(capfd)
    assert state(database) == before


def test_a_restore_that_ends_badly_changes_nothing(place: tuple[str, Path], tmp_path: Path, capfd: Capture) -> None:
    """The sums are right, and what the manifest says is not: noticed when all is restored."""
    database, _ = place
    assert main(["make", str(tmp_path / "mine.tar")]) == 0
    before = state(database)
    folder = tmp_path / "taken apart"
    with tarfile.open(tmp_path / "mine.tar") as tar:
        names = tar.getnames()[:-1]
        tar.extractall(folder, **ONLY_DATA)
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"warehouse.users": 40', '"warehouse.users": 41'))
    sums = subprocess.run(["sha256sum", *names], cwd=folder, capture_output=True, check=True).stdout
    (folder / "SHA256SUMS").write_bytes(sums)
    with tarfile.open(tmp_path / "wrong.tar", "w") as tar:
        for name in (*names, "SHA256SUMS"):
            tar.add(folder / name, name)
    capfd.readouterr()

    assert main(["restore", str(tmp_path / "wrong.tar"), "--force"]) == 1
    error = error_of(capfd)
    assert '"warehouse"."users" is not complete' in error
    assert "the database is unchanged" in error
    assert state(database) == before


def test_what_a_role_made_does_not_come_back_as_the_owners(
    place: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    """In a backup that was made before this was looked at; who restores it would own it."""
    database, _ = place
    made = {
        "create view ml.v as select id, email from warehouse.users": "view ml v moovitamix_recommender",
        "create function ml.f() returns text security definer language sql as $$select 'x'$$": "function ml f()",
        "create rule r as on delete to ml.recommendations do also select 1": "rule ml recommendations r ",
        "create type ml.t as enum ()": "type ml t moovitamix_recommender",
        # Of this the table of contents says nothing.
        "alter table ml.similar_tracks add constraint c check (pg_notify('c', '') is not null) not valid": (
            "constraint c on table ml.similar_tracks"
        ),
    }
    files = []
    with monkeypatch.context() as patch:
        patch.setattr("services.backup.refuse_foreign_code", lambda _: None)
        for number, statement in enumerate(made):
            with psycopg.connect(database, options=f"-c role={RECOMMENDER}") as connection:
                connection.execute(statement)  # type: ignore[arg-type]
                connection.commit()
                files.append(tmp_path / f"{number}.tar")
                assert main(["make", str(files[-1])]) == 0
                connection.execute(
                    "drop view if exists ml.v; drop function if exists ml.f; drop type if exists ml.t;"
                    "drop rule if exists r on ml.recommendations;"
                    "alter table ml.similar_tracks drop constraint if exists c"
                )
    before, shape = state(database), structure(database)
    for file, says in zip(files, made.values(), strict=True):
        capfd.readouterr()
        assert main(["restore", str(file), "--force"]) == 1
        error = error_of(capfd)
        assert "no migration made" in error
        assert says in error
        assert state(database) == before
        assert structure(database) == shape


def test_on_another_machine(place: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An embedded server without the role; then it is in use."""
    database, data_dir = place
    assert main(["make", str(tmp_path / "mine.tar")]) == 0
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # its programs are those of the wheel
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # below pytest's own, Postgres's user could not reach it
    folder.chmod(0o755)
    monkeypatch.setenv("DATA_DIR", str(folder))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "services.backup", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    try:
        restored = run("restore", str(tmp_path / "mine.tar"))
        assert (restored.returncode, restored.stderr) == (0, "")
        assert "missing roles are created" in restored.stdout
        url = embedded_postgres.start(folder)
        assert state(url) == state(database)
        assert structure(url) == structure(database)
        assert models(folder) == models(data_dir)
        again = run("restore", str(tmp_path / "mine.tar"), "--force")
        assert (again.returncode, again.stderr) == (
            1,
            f"error: a run or another program uses the database in {folder}; wait for it\n",
        )
        assert run("make").returncode == 0
    finally:
        embedded_postgres.stop_if_unused(folder)
        shutil.rmtree(folder)


def test_nobody_may_be_at_work(place: tuple[str, Path], tmp_path: Path, capfd: Capture) -> None:
    database, data_dir = place
    file = tmp_path / "mine.tar"
    with connect(database) as connection, warehouse_lock(connection, 0):
        assert main(["make", str(file)]) == 1
        out, err = capfd.readouterr()
        assert "waiting up to 1 s for an active run" in out
        assert "another run is at work" in err
        assert not file.exists()
    assert main(["make"]) == 0
    (made,) = (data_dir / "backups").iterdir()
    assert made.parent.stat().st_mode & 0o077 == 0
    with psycopg.connect(database, application_name="somebody"):
        capfd.readouterr()
        assert main(["restore", str(made), "--force"]) == 1
        assert "in use by 1 connection(s), such as somebody" in error_of(capfd)
    with connect(database) as connection, warehouse_lock(connection, 0):
        assert main(["restore", str(made), "--force"]) == 1
        assert "another run is at work" in error_of(capfd)


def test_the_newest_backups_are_kept_and_nothing_else_is_touched(tmp_path: Path) -> None:
    days = [f"2026-11-{day:02}T030000Z.tar" for day in range(1, 6)]
    others = ["before-upgrade.tar", "2026-11-01T030000Z.tar.old", "erased.json"]
    (tmp_path / "backups" / "2026-01-01T030000Z.tar").mkdir(parents=True)  # a folder that somebody made
    for name in (*days, *others):
        (tmp_path / "backups" / name).touch()
    newest, now = tmp_path / "backups" / days[-1], datetime(2026, 11, 5, 3, tzinfo=UTC)
    assert prune(Settings(data_dir=tmp_path, backups_kept=0), newest, now) == 0
    assert prune(Settings(data_dir=tmp_path, backups_kept=2), newest, now) == 3
    assert prune(Settings(data_dir=tmp_path, backups_kept=2), newest, now) == 0
    assert {path.name for path in (tmp_path / "backups").iterdir()} == {
        *days[3:],
        *others,
        "2026-01-01T030000Z.tar",
    }


def test_a_backup_by_a_clock_that_was_ahead_drives_none_out(tmp_path: Path) -> None:
    """Its name stays the newest for months; and what is just written stays, wherever its name stands."""
    folder = tmp_path / "backups"
    folder.mkdir()
    ahead, old, newest = (folder / f"{moment}T030000Z.tar" for moment in ("2027-06-01", "2026-11-22", "2026-11-23"))
    for path in (ahead, old, newest):
        path.touch()
    settings = Settings(data_dir=tmp_path, backups_kept=1)
    assert prune(settings, newest, datetime(2026, 11, 23, 3, tzinfo=UTC)) == 1
    assert set(folder.iterdir()) == {ahead, newest}
    # An hour back: the backup before has the later name.
    earlier = folder / "2026-11-23T020000Z.tar"
    earlier.touch()
    assert prune(settings, earlier, datetime(2026, 11, 23, 4, tzinfo=UTC)) == 0
    assert earlier.exists()


def test_a_password_is_not_shown(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    """A program in place of pg_dump tells what it sees, as an error."""
    spy = tmp_path / "bin" / "pg_dump"
    spy.parent.mkdir()
    spy.write_text(
        '#!/bin/sh\ntest "$1" = --version && echo "pg_dump (PostgreSQL) $VERSION" && exit\n'
        'echo "$*" > "$SEEN"\necho "error: $PGPASSWORD" >&2\nexit 1\n'
    )
    spy.chmod(0o755)
    values = quick_settings(database.replace("postgres@", "postgres:tell-n0-one@"), tmp_path / "data")
    for name, value in (values | {"SEEN": str(tmp_path / "seen"), "VERSION": "99"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{spy.parent}{os.pathsep}{os.environ['PATH']}")

    assert main(["make"]) == 1
    assert error_of(capfd) == "error: pg_dump failed: error: ***\n"
    seen = (tmp_path / "seen").read_text()
    assert "--dbname=" in seen
    assert "tell-n0-one" not in seen

    monkeypatch.setenv("VERSION", "15.20 (Debian)")
    assert main(["make"]) == 1
    assert "pg_dump is of PostgreSQL 15 and the server 18" in error_of(capfd)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["make"]) == 1
    assert "pg_dump is missing" in error_of(capfd)
    assert list((tmp_path / "data" / "backups").iterdir()) == []


def test_usage_and_settings_exit_2(monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    with pytest.raises(SystemExit) as usage:
        main(["restore"])
    assert usage.value.code == 2
    monkeypatch.setenv("DATABASE_URL", "nonsense")
    assert main(["make"]) == 2
    capfd.readouterr()


def test_all_schemas_are_in_a_backup(database: str) -> None:
    with connect(database) as connection:
        rows = connection.execute(
            "select nspname::text from pg_namespace where nspname !~ '^pg_' and nspname not in"
            " ('public', 'information_schema')"
        )
        assert {name for (name,) in rows} == set(SCHEMAS)


def test_an_empty_database_has_nothing_to_back_up(
    empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    for name, value in quick_settings(empty_database, tmp_path / "data").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{embedded_postgres.programs_folder()}{os.pathsep}{os.environ['PATH']}")
    assert main(["make"]) == 1
    assert "nothing to back up" in error_of(capfd)
