"""Backup and restore: a restore brings back every row, right and key, or changes nothing."""

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

# Python has this filter since 3.11.4.
DATA_FILTER: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
Capture = pytest.CaptureFixture[str]
TableHashes = dict[str, tuple[int, str]]


@pytest.fixture
def place(
    database: str, prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Path]]:
    """A database with a live publication, and its data folder. The programs of Postgres are on the PATH."""
    for name in [name for name in os.environ if name.startswith(("THRESHOLD_", "RETRAIN_", "MOOVITAMIX_"))]:
        monkeypatch.delenv(name)
    for name, value in quick_settings(database, tmp_path / "data").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{embedded_postgres.programs_folder()}{os.pathsep}{os.environ['PATH']}")
    fill_warehouse(database, two_taste_groups(users=40, tracks=40))
    with quick_candidates():
        assert recommend.main([]) == 0
        for number in (1, 2):  # the genre model has no file
            path = tmp_path / "data" / "models" / f"{number}.model"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(bytes([number]) * 10_000)
        yield database, tmp_path / "data"


def table_hashes(database: str) -> TableHashes:
    """The number of rows of each table and a hash that does not depend on their order."""
    with connect(database) as connection:
        names = connection.execute(
            "select schemaname, tablename from pg_tables where schemaname = any(%s) and schemaname <> 'staging'"
            " order by 1, 2",
            [list(SCHEMAS)],
        ).fetchall()
        statement = "select count(*), coalesce(md5(string_agg(t::text, e'\\n' order by t::text)), '') from {} as t"
        return {
            ".".join(name): connection.execute(sql.SQL(statement).format(sql.Identifier(*name))).fetchone() or (0, "")
            for name in names
        }


def structure(database: str) -> list[tuple[Any, ...]]:
    """Constraints, partitions, indexes, views and rights."""
    schemas = [name for name in SCHEMAS if name != "staging"]
    with connect(database) as connection:
        return [
            row
            for statement in (
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
            for row in sorted(connection.execute(statement, [schemas]).fetchall(), key=repr)  # type: ignore[arg-type]
        ]


def destroy(database: str, data_dir: Path) -> None:
    """Drop all schemas and delete the model files."""
    with connect(database) as connection:
        connection.execute(f"drop schema {', '.join(SCHEMAS)} cascade")  # type: ignore[arg-type]
    for path in (data_dir / "models").iterdir():
        path.unlink()


def models(data_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (data_dir / "models").iterdir()}


def error_of(capture: Capture) -> str:
    """The single error line on standard error."""
    err = capture.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_restore_brings_back_destroyed_data(place: tuple[str, Path], tmp_path: Path, capfd: Capture) -> None:
    database, data_dir = place
    original, original_structure, files = table_hashes(database), structure(database), models(data_dir)
    assert files
    assert {"partition", "constraint", "right"} <= {kind for kind, *_ in original_structure}
    file = tmp_path / "backups" / "database.tar"

    assert main(["make", str(file)]) == 0
    assert file.stat().st_mode & 0o077 == 0
    assert os.listdir(file.parent) == ["database.tar"]
    assert main(["make", str(file)]) == 2
    assert "exists already" in error_of(capfd)
    destroy(database, data_dir)
    assert table_hashes(database) == {}
    assert main(["restore", str(file)]) == 0

    out = capfd.readouterr().out
    assert "2 model files, schema 0" in out
    assert "all rows are counted" in out
    assert table_hashes(database) == original
    assert structure(database) == original_structure
    assert models(data_dir) == files
    with psycopg.connect(database, autocommit=True, options=f"-c role={SERVING}") as connection:
        assert connection.execute("select count(*) > 0 from ml.current_recommendations").fetchone() == (True,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select email from warehouse.users")

    assert main(["restore", str(file)]) == 1
    assert "FORCE=yes" in error_of(capfd)
    assert recommend.main([]) == 0  # the restored database is usable
    assert table_hashes(database) != original
    assert main(["restore", str(file), "--force"]) == 0
    assert table_hashes(database) == original
    assert structure(database) == original_structure


def test_damaged_backup_is_refused_and_changes_nothing(place: tuple[str, Path], tmp_path: Path, capfd: Capture) -> None:
    database, _ = place
    file = tmp_path / "whole.tar"
    assert main(["make", str(file)]) == 0
    original, content = table_hashes(database), file.read_bytes()
    dump = content.index(b"PGDMP")

    damages = {
        "truncated": content[: len(content) // 2],
        "without checksums": content[: content.rindex(b"SHA256SUMS")],
        "empty": b"",
        "one bit changed": content[: dump + 900] + bytes([content[dump + 900] ^ 1]) + content[dump + 901 :],
        "count changed": content.replace(b'"warehouse.users": 40', b'"warehouse.users": 41'),
        "path changed": content.replace(b"models/", b"../els/"),
    }
    for damage, damaged in damages.items():
        assert damaged != content, damage
        (tmp_path / "damaged.tar").write_bytes(damaged)
        capfd.readouterr()
        assert main(["restore", str(tmp_path / "damaged.tar"), "--force"]) == 1, damage
        assert "damaged or truncated" in error_of(capfd)
    assert main(["restore", str(tmp_path / "none.tar")]) == 2
    assert "does not exist" in error_of(capfd)
    assert table_hashes(database) == original


def test_failed_restore_changes_nothing(place: tuple[str, Path], tmp_path: Path, capfd: Capture) -> None:
    """The checksums are right, but the manifest is wrong. The restore notices it at its end."""
    database, _ = place
    assert main(["make", str(tmp_path / "database.tar")]) == 0
    original = table_hashes(database)
    folder = tmp_path / "unpacked"
    with tarfile.open(tmp_path / "database.tar") as tar:
        names = tar.getnames()[:-1]
        tar.extractall(folder, **DATA_FILTER)
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
    assert table_hashes(database) == original


def test_backup_with_objects_of_a_role_is_refused(
    place: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    """An old backup can contain objects that a role created. The owner would own them after a restore."""
    database, _ = place
    objects = {
        "create view ml.v as select id, email from warehouse.users": "view ml v moovitamix_recommender",
        "create function ml.f() returns text security definer language sql as $$select 'x'$$": "function ml f()",
        "create rule r as on delete to ml.recommendations do also select 1": "rule ml recommendations r ",
        "create type ml.t as enum ()": "type ml t moovitamix_recommender",
        # The table of contents of a dump does not list this constraint.
        "alter table ml.similar_tracks add constraint c check (pg_notify('c', '') is not null) not valid": (
            "constraint c on table ml.similar_tracks"
        ),
    }
    files = []
    with monkeypatch.context() as patch:
        patch.setattr("services.backup.refuse_foreign_code", lambda _: None)
        for number, statement in enumerate(objects):
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
    original, original_structure = table_hashes(database), structure(database)
    for file, message in zip(files, objects.values(), strict=True):
        capfd.readouterr()
        assert main(["restore", str(file), "--force"]) == 1
        error = error_of(capfd)
        assert "no migration made" in error
        assert message in error
        assert table_hashes(database) == original
        assert structure(database) == original_structure


def test_restore_on_another_machine(place: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore into an embedded server without the roles, and while the database is in use."""
    database, data_dir = place
    assert main(["make", str(tmp_path / "database.tar")]) == 0
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # the programs of the wheel must be used
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # Postgres's user cannot enter pytest's own folder
    folder.chmod(0o755)
    monkeypatch.setenv("DATA_DIR", str(folder))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "services.backup", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    try:
        restored = run("restore", str(tmp_path / "database.tar"))
        assert (restored.returncode, restored.stderr) == (0, "")
        assert "missing roles are created" in restored.stdout
        url = embedded_postgres.start(folder)
        assert table_hashes(url) == table_hashes(database)
        assert structure(url) == structure(database)
        assert models(folder) == models(data_dir)
        second_restore = run("restore", str(tmp_path / "database.tar"), "--force")
        assert (second_restore.returncode, second_restore.stderr) == (
            1,
            f"error: a run or another program uses the database in {folder}; wait for it\n",
        )
        assert run("make").returncode == 0
    finally:
        embedded_postgres.stop_if_unused(folder)
        shutil.rmtree(folder)


def test_backup_and_restore_need_exclusive_access(place: tuple[str, Path], tmp_path: Path, capfd: Capture) -> None:
    database, data_dir = place
    file = tmp_path / "database.tar"
    with connect(database) as connection, warehouse_lock(connection, 0):
        assert main(["make", str(file)]) == 1
        out, err = capfd.readouterr()
        assert "waiting up to 1 s for an active run" in out
        assert "another run is at work" in err
        assert not file.exists()
    assert main(["make"]) == 0
    (backup_file,) = (data_dir / "backups").iterdir()
    assert backup_file.parent.stat().st_mode & 0o077 == 0
    with psycopg.connect(database, application_name="other_client"):
        capfd.readouterr()
        assert main(["restore", str(backup_file), "--force"]) == 1
        assert "in use by 1 connection(s), such as other_client" in error_of(capfd)
    with connect(database) as connection, warehouse_lock(connection, 0):
        assert main(["restore", str(backup_file), "--force"]) == 1
        assert "another run is at work" in error_of(capfd)


def test_prune_keeps_the_newest_backups_and_all_other_files(tmp_path: Path) -> None:
    days = [f"2026-11-{day:02}T030000Z.tar" for day in range(1, 6)]
    other_files = ["before-upgrade.tar", "2026-11-01T030000Z.tar.old", "erased.json"]
    (tmp_path / "backups" / "2026-01-01T030000Z.tar").mkdir(parents=True)  # a folder with the name of a backup
    for name in (*days, *other_files):
        (tmp_path / "backups" / name).touch()
    newest, now = tmp_path / "backups" / days[-1], datetime(2026, 11, 5, 3, tzinfo=UTC)
    assert prune(Settings(data_dir=tmp_path, backups_kept=0), newest, now) == 0
    assert prune(Settings(data_dir=tmp_path, backups_kept=2), newest, now) == 3
    assert prune(Settings(data_dir=tmp_path, backups_kept=2), newest, now) == 0
    assert {path.name for path in (tmp_path / "backups").iterdir()} == {
        *days[3:],
        *other_files,
        "2026-01-01T030000Z.tar",
    }


def test_prune_handles_a_backup_from_a_clock_that_was_ahead(tmp_path: Path) -> None:
    """Its name sorts as the newest for months. The backup that was just written is kept regardless of its name."""
    folder = tmp_path / "backups"
    folder.mkdir()
    ahead, old, newest = (folder / f"{moment}T030000Z.tar" for moment in ("2027-06-01", "2026-11-22", "2026-11-23"))
    for path in (ahead, old, newest):
        path.touch()
    settings = Settings(data_dir=tmp_path, backups_kept=1)
    assert prune(settings, str(newest), datetime(2026, 11, 23, 3, tzinfo=UTC)) == 1
    assert set(folder.iterdir()) == {ahead, newest}
    # The clock is set back an hour, so the previous backup has the later name.
    earlier = folder / "2026-11-23T020000Z.tar"
    earlier.touch()
    assert prune(settings, str(earlier), datetime(2026, 11, 23, 4, tzinfo=UTC)) == 0
    assert earlier.exists()


def test_password_is_not_printed(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    """A stub of pg_dump prints its arguments and the password as an error."""
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
    arguments = (tmp_path / "seen").read_text()
    assert "--dbname=" in arguments
    assert "tell-n0-one" not in arguments

    monkeypatch.setenv("VERSION", "15.20 (Debian)")
    assert main(["make"]) == 1
    assert "pg_dump is of PostgreSQL 15 and the server 18" in error_of(capfd)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["make"]) == 1
    assert "pg_dump is missing" in error_of(capfd)
    assert list((tmp_path / "data" / "backups").iterdir()) == []


def test_usage_and_settings_errors_exit_with_2(monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["restore"])
    assert exit_info.value.code == 2
    monkeypatch.setenv("DATABASE_URL", "nonsense")
    assert main(["make"]) == 2
    capfd.readouterr()


def test_backup_covers_all_schemas(database: str) -> None:
    with connect(database) as connection:
        rows = connection.execute(
            "select nspname::text from pg_namespace where nspname !~ '^pg_' and nspname not in"
            " ('public', 'information_schema')"
        )
        assert {name for (name,) in rows} == set(SCHEMAS)


def test_backup_of_an_empty_database_is_an_error(
    empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    for name, value in quick_settings(empty_database, tmp_path / "data").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{embedded_postgres.programs_folder()}{os.pathsep}{os.environ['PATH']}")
    assert main(["make"]) == 1
    assert "nothing to back up" in error_of(capfd)
