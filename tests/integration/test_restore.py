"""Large, interrupted and concurrent restores: the database is either unchanged or completely restored."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from psycopg import sql

from core import embedded_postgres, side_schemas
from core.database import connect, migrate
from core.queries import load_query
from flows.erase import _open_erasure
from services import restore as restoring
from services.backup import main
from services.table_contents import count_constraints
from tests.conftest import ROOT
from tests.integration.monitor.test_upgrade import migrate_to
from tests.integration.test_backup import DATA_FILTER, error_of, models, structure, table_hashes

Capture = pytest.CaptureFixture[str]
# Creates month partitions from 1990 on, each with one session and one play.
MONTHS = """
do $$
declare
    month timestamptz;
    name text;
begin
    for month in
        select '1990-01-01'::timestamptz + number * interval '1 month' from generate_series(0, {months} - 1) as number
    loop
        name := to_char(month, 'YYYY_MM');
        execute format('create table warehouse.%I partition of warehouse.listen_history for values from (%L) to (%L)',
            'listen_history_' || name, month, month + interval '1 month');
        execute format('create table warehouse.%I partition of warehouse.listen_history_tracks'
            ' for values from (%L) to (%L)', 'listen_history_tracks_' || name, month, month + interval '1 month');
        execute format('alter table warehouse.%I add foreign key (listen_history_id, created_at)'
            ' references warehouse.%I (id, created_at)', 'listen_history_tracks_' || name, 'listen_history_' || name);
        execute format('insert into warehouse.%I values (1, 1, %L, %L, null, 1, ''b'')',
            'listen_history_' || name, month, month);
        execute format('insert into warehouse.%I values (1, 1, 1, %L)', 'listen_history_tracks_' || name, month);
        commit;
    end loop;
end
$$
"""


def add_rows(database: str, months: int) -> None:
    """Insert a user, a track and this number of months with plays."""
    with connect(database) as connection:
        connection.execute(
            "insert into warehouse.users values (1, 'Zoë', 'B', 'z@x.org', 'f', 'rock', '2026-11-22',"
            " '2026-11-22', null, 1, 'b');"
            "insert into warehouse.tracks values (1, 'T', 'A', 'S', '01:00', 60, 'g', 'x', '2026-11-22',"
            " '2026-11-22', null, 1, 'b')"
        )
        connection.execute(MONTHS.replace("{months}", str(months)))  # type: ignore[arg-type]


def schemas(database: str) -> set[str]:
    with connect(database) as connection:
        rows = connection.execute("select nspname::text from pg_namespace where nspname !~ '^(pg_|information|public)'")
        return {name for (name,) in rows}


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A folder outside pytest's own folder, which Postgres's user cannot enter."""
    folder = Path(tempfile.mkdtemp(prefix="data-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def place(database: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """A small database, and a data folder with one model."""
    set_environment(database, data_dir, monkeypatch)
    (data_dir / "models").mkdir()
    (data_dir / "models" / "1.npz").write_bytes(b"first")
    add_rows(database, 3)
    return database, data_dir


def set_environment(database: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("THRESHOLD_", "RETRAIN_", "MOOVITAMIX_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.setenv("DATA_DIR", str(data_dir))
    monkeypatch.setenv("LOCK_WAIT_SECONDS", "5")
    monkeypatch.setenv("PATH", f"{embedded_postgres.programs_folder()}{os.pathsep}{os.environ['PATH']}")


def change(database: str, data_dir: Path) -> None:
    """Change the database and the model file."""
    with connect(database) as connection:
        connection.execute("update warehouse.users set first_name = 'changed'; create table ops.new_table (a int)")
    (data_dir / "models" / "1.npz").write_bytes(b"second")


@pytest.fixture(params=[("pginstall", 40), ("pginstall18", 20)], ids=["PostgreSQL 16", "PostgreSQL 18"])
def small_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server of PostgreSQL 16 or 18 with few locks, and a login that owns only its own database."""
    with monkeypatch.context() as patch:
        newest, (version, locks) = embedded_postgres.programs_folder(), request.param
        patch.setattr("core.embedded_postgres.programs_folder", lambda: newest.parent.parent / version / "bin")
        patch.setattr(
            "core.embedded_postgres._LOCALE", ("--encoding=UTF8", "--locale=C")
        )  # a locale that both versions have
        folder = Path(tempfile.mkdtemp(prefix="pg-"))
        folder.chmod(0o755)
        try:
            embedded_postgres.start(folder)
            embedded_postgres.stop_if_unused(folder)
            with (folder / "postgres" / "postgresql.conf").open("a") as file:
                file.write(f"\nmax_locks_per_transaction = {locks}\nmax_connections = 12\nmax_worker_processes = 2\n")
            url = embedded_postgres.start(folder)
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("create role plain login createrole")
                for name in ("first", "second"):
                    connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
                    connection.execute(sql.SQL("grant create on database {} to plain").format(sql.Identifier(name)))
            patch.undo()
            yield url.replace("postgres@/postgres", "plain@/first")
        finally:
            embedded_postgres.discard(folder)


def restore_in_one_transaction(database: str, file: str, folder: Path) -> str:
    """Restore in one transaction. Returns the error output."""
    with tarfile.open(file) as tar:
        tar.extract("database.dump", folder, **DATA_FILTER)
    pg_restore = ["pg_restore", "--no-owner", "--file=-", folder / "database.dump"]
    script = subprocess.run(pg_restore, capture_output=True, check=True).stdout
    psql = ["psql", "-X", "--single-transaction", "--set=ON_ERROR_STOP=1", f"--dbname={database}"]
    script = script.replace(b"SET transaction_timeout = 0;", b"", 1)
    return subprocess.run(psql, input=script, capture_output=True, check=False).stderr.decode()


def test_restore_of_hundreds_of_partitions_needs_few_locks(
    small_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    """A restore in one transaction would need several times the locks of this server."""
    first, second = small_server, small_server.replace("/first", "/second")
    migrate(first)
    add_rows(first, 240)
    set_environment(first, tmp_path / "data", monkeypatch)
    file = str(tmp_path / "large.tar")
    assert main(["make", file]) == 0
    original, original_structure = table_hashes(first), structure(first)
    set_environment(second, tmp_path / "data", monkeypatch)
    assert "out of shared memory" in restore_in_one_transaction(second, file, tmp_path)

    assert main(["restore", file]) == 0, capfd.readouterr().err
    assert table_hashes(second) == original
    assert structure(second) == original_structure
    assert main(["restore", file, "--force"]) == 0, capfd.readouterr().err
    assert table_hashes(second) == original
    assert structure(second) == original_structure
    assert schemas(second) == set(side_schemas.SCHEMAS)


KILL_SCRIPT = """
import os, sys
from services import backup, restore, verification
def kill(*_, **__):
    os.kill(os.getpid(), 9)
def then_kill(function):
    return lambda *arguments, **options: (function(*arguments, **options), kill())
module, name, when = sys.argv[1:4]
module = {"restore": restore, "side_schemas": restore.side_schemas, "verification": verification}[module]
setattr(module, name, kill if when == "before" else then_kill(getattr(module, name)))
backup.main(sys.argv[4:])
"""


def run_and_kill(point: tuple[str, str, str], *arguments: str) -> None:
    """Run a command in a process that is killed before or after a function call."""
    result = subprocess.run(
        [sys.executable, "-c", KILL_SCRIPT, *point, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == -9, result.stderr


def test_restore_killed_before_the_switch_changes_nothing(
    place: tuple[str, Path], tmp_path: Path, capfd: Capture
) -> None:
    database, data_dir = place
    assert main(["make", str(tmp_path / "database.tar")]) == 0
    backed_up, files = table_hashes(database), models(data_dir)
    change(database, data_dir)
    original, original_structure, changed_files = table_hashes(database), structure(database), models(data_dir)
    for point in (
        ("restore", "_create_roles", "after"),
        ("restore", "_compare_counts", "before"),
        ("side_schemas", "swap_schemas", "before"),
    ):
        run_and_kill(point, "restore", str(tmp_path / "database.tar"), "--force")
        assert table_hashes(database) == original, point
        assert structure(database) == original_structure, point
        assert models(data_dir) == changed_files, point
    assert schemas(database) != set(side_schemas.SCHEMAS)

    capfd.readouterr()
    assert main(["make", str(tmp_path / "after.tar")]) == 0
    assert "before it changed anything" in capfd.readouterr().out
    assert schemas(database) == set(side_schemas.SCHEMAS)
    assert table_hashes(database) == original
    assert models(data_dir) == changed_files

    run_and_kill(("side_schemas", "swap_schemas", "before"), "restore", str(tmp_path / "database.tar"), "--force")
    assert main(["restore", str(tmp_path / "database.tar"), "--force"]) == 0
    assert table_hashes(database) == backed_up
    assert models(data_dir) == files
    assert schemas(database) == set(side_schemas.SCHEMAS)

    run_and_kill(("side_schemas", "swap_schemas", "before"), "restore", str(tmp_path / "database.tar"), "--force")
    with _open_erasure(), connect(database) as connection:  # the context in which an erasure runs
        remaining = connection.execute("select tablename from pg_tables where schemaname ~ '^moovitamix_'").fetchall()
    assert remaining == []


@pytest.mark.parametrize(
    "point",
    [
        ("side_schemas", "swap_schemas", "after"),
        ("restore", "_move_models", "after"),
        ("side_schemas", "_drop_some_tables", "after"),
    ],
)
def test_next_command_completes_a_restore_killed_after_the_switch(
    point: tuple[str, str, str], place: tuple[str, Path], tmp_path: Path, capfd: Capture
) -> None:
    database, data_dir = place
    assert main(["make", str(tmp_path / "database.tar")]) == 0
    backed_up, files = table_hashes(database), models(data_dir)
    change(database, data_dir)

    run_and_kill(point, "restore", str(tmp_path / "database.tar"), "--force")
    assert table_hashes(database) == backed_up
    assert schemas(database) != set(side_schemas.SCHEMAS)
    capfd.readouterr()
    assert main(["make", str(tmp_path / "after.tar")]) == 0
    assert "it is completed first" in capfd.readouterr().out
    assert table_hashes(database) == backed_up
    assert models(data_dir) == files
    assert schemas(database) == set(side_schemas.SCHEMAS)


def before_switch(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> None:
    """Call a function after the restored schemas are built and before they are switched."""
    build = restoring.build_beside

    def build_and_act(*arguments: Any) -> Any:
        built = build(*arguments)
        act()
        return built

    monkeypatch.setattr("services.restore.build_beside", build_and_act)


def test_restore_does_not_interrupt_a_transaction(
    place: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    database, data_dir = place
    assert main(["make", str(tmp_path / "database.tar")]) == 0
    change(database, data_dir)
    original, changed_files = table_hashes(database), models(data_dir)
    monkeypatch.setattr("core.side_schemas._LOCK_TIMEOUT", "200ms")
    with psycopg.connect(database) as reader, monkeypatch.context() as patch:
        patch.setattr("services.restore._other_connections", lambda _: [])
        reader.execute("insert into ops.new_table values (1)")
        capfd.readouterr()
        assert main(["restore", str(tmp_path / "database.tar"), "--force"]) == 1
        error = error_of(capfd)
        assert "somebody reads or writes" in error
        assert "the database is unchanged" in error
        reader.rollback()
    assert table_hashes(database) == original
    assert models(data_dir) == changed_files
    assert schemas(database) == set(side_schemas.SCHEMAS)


@pytest.mark.parametrize("schema", sorted({*side_schemas.SCHEMAS} - {"staging"}))
def test_tables_of_every_schema_are_locked_and_verified(database: str, schema: str) -> None:
    """Except `staging`: its tables need the warehouse lock, and no backup contains their rows."""
    table, index = sql.Identifier(schema, "new_table"), f"{schema}.new_index"
    with connect(database) as connection:
        before = count_constraints(connection)
        connection.execute(sql.SQL("create table {} (a int check (a > 0))").format(table))
        connection.execute(sql.SQL("insert into {} values (1), (1)").format(table))
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(sql.SQL("create unique index concurrently new_index on {} (a)").format(table))

        assert count_constraints(connection) == before + 1
        assert connection.execute(load_query("restore/tables.find_invalid_indexes")).fetchall() == [(index,)]
        assert (schema, "new_table") in connection.execute(load_query("restore/tables.find_tables_in_use")).fetchall()


def test_reader_sees_old_rows_before_the_switch_and_new_rows_after_it(
    place: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, data_dir = place
    assert main(["make", str(tmp_path / "database.tar")]) == 0
    change(database, data_dir)
    names: list[str] = []
    with psycopg.connect(database, autocommit=True, prepare_threshold=1) as reader, monkeypatch.context() as patch:

        def read_name() -> None:
            for _ in range(3):  # so that the plan is cached
                rows = reader.execute("select first_name from warehouse.users where id = %s", [1]).fetchall()
                names.append(rows[0][0])

        patch.setattr("services.restore._other_connections", lambda _: [])
        before_switch(patch, read_name)
        assert main(["restore", str(tmp_path / "database.tar"), "--force"]) == 0
        read_name()
    assert names == ["changed"] * 3 + ["Zoë"] * 3


def test_restore_that_loses_its_connection_changes_nothing(
    place: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    database, data_dir = place
    assert main(["make", str(tmp_path / "database.tar")]) == 0
    change(database, data_dir)
    original = table_hashes(database)
    sql_of_dump = restoring._sql_of_dump

    def cut_off(*arguments: Any) -> Iterator[bytes]:
        yield from sql_of_dump(*arguments)
        with connect(database) as connection:
            connection.execute(
                "select pg_terminate_backend(pid, 10000) from pg_stat_activity"
                " where datname = current_database() and xact_start is not null and pid <> pg_backend_pid()"
            )

    with monkeypatch.context() as patch:
        patch.setattr("services.restore._sql_of_dump", cut_off)
        capfd.readouterr()
        assert main(["restore", str(tmp_path / "database.tar"), "--force"]) == 1
    error = error_of(capfd)
    assert "psql failed" in error
    assert "the database is unchanged" in error
    assert table_hashes(database) == original
    assert schemas(database) == set(side_schemas.SCHEMAS)


def test_restore_drops_foreign_objects_in_the_schemas(place: tuple[str, Path], tmp_path: Path) -> None:
    database, _ = place
    assert main(["make", str(tmp_path / "database.tar")]) == 0
    original, original_structure = table_hashes(database), structure(database)
    with connect(database) as connection:
        connection.execute(
            "do $$ begin create role test_other_role; exception when duplicate_object then null; end $$;"
            "grant usage, create on schema mart to test_other_role; set role test_other_role;"
            "create table mart.of_other_role (a int); reset role;"
            "create view mart.extra_view as select * from warehouse.users;"
            "create function mart.f() returns int language sql as 'select 1';"
            "create table public.refers (a bigint references warehouse.users)"
        )
    assert main(["restore", str(tmp_path / "database.tar"), "--force"]) == 0
    assert table_hashes(database) == original
    assert structure(database) == original_structure
    assert schemas(database) == set(side_schemas.SCHEMAS)


def rewrite_manifest(file: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Copy a backup with a changed manifest and matching checksums."""
    folder = Path(tempfile.mkdtemp(dir=file.parent))
    with tarfile.open(file) as tar:
        names = tar.getnames()[:-1]
        tar.extractall(folder, **DATA_FILTER)
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    sums = subprocess.run(["sha256sum", *names], cwd=folder, capture_output=True, check=True).stdout
    (folder / "SHA256SUMS").write_bytes(sums)
    with tarfile.open(folder / "rewritten.tar", "w") as tar:
        for name in (*names, "SHA256SUMS"):
            tar.add(folder / name, name)
    return folder / "rewritten.tar"


def convert_to_format_1(manifest: dict[str, Any]) -> None:
    manifest["format"] = 1
    del manifest["checksums"], manifest["constraints"]


def test_backup_of_an_older_version_is_restored(
    empty_database: str, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    """A backup in the first format, with a schema from before the roles."""
    migrate_to(empty_database, "0006")
    set_environment(empty_database, data_dir, monkeypatch)
    add_rows(empty_database, 2)
    assert main(["make", str(tmp_path / "database.tar")]) == 0
    original = table_hashes(empty_database)
    old_backup = str(rewrite_manifest(tmp_path / "database.tar", convert_to_format_1))
    with connect(empty_database) as database:
        database.execute("update warehouse.users set first_name = 'changed'")
    capfd.readouterr()

    assert main(["verify", old_backup]) == 0
    out = capfd.readouterr().out
    assert "without checksums of contents" in out
    assert main(["restore", old_backup, "--force"]) == 0
    assert "older than this version" in capfd.readouterr().out
    assert table_hashes(empty_database) == original
    migrate(empty_database)  # as the next run does


def test_verify_compares_the_backup_and_leaves_no_files(
    place: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    """Verification needs no access to the database."""
    _, data_dir = place
    file = tmp_path / "database.tar"
    assert main(["make", str(file)]) == 0
    differences = {
        '"ops"."runs" is not complete': lambda manifest: manifest["tables"].update({"ops.runs": 9}),
        "warehouse.users (other values)": lambda manifest: manifest["checksums"].update({"warehouse.users": "1"}),
        "valid constraints instead of 9": lambda manifest: manifest.update(constraints=9),
    }
    files = {message: rewrite_manifest(file, change) for message, change in differences.items()}
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    (data_dir / "backups").mkdir()
    paths = sorted(data_dir.rglob("*"))
    capfd.readouterr()

    assert main(["verify", str(file)]) == 0
    out, err = capfd.readouterr()
    assert (out.count("\n"), err) == (1, "")
    assert "rows, contents and constraints are equal" in out
    for message, damaged in files.items():
        assert main(["verify", str(damaged)]) == 1
        assert message in error_of(capfd)
    (tmp_path / "truncated.tar").write_bytes(file.read_bytes()[:-20_000])
    assert main(["verify", str(tmp_path / "truncated.tar")]) == 1
    assert "damaged or truncated" in error_of(capfd)
    assert sorted(data_dir.rglob("*")) == paths
    monkeypatch.setenv("DATABASE_URL", "nonsense")
    assert main(["verify", str(file)]) == 2


def test_verification_removes_the_server_of_a_killed_verification(place: tuple[str, Path], tmp_path: Path) -> None:
    _, data_dir = place
    assert main(["make", str(tmp_path / "database.tar")]) == 0
    run_and_kill(("verification", "_differences", "before"), "verify", str(tmp_path / "database.tar"))
    scratch = data_dir / "verification"
    server = psutil.Process(int((scratch / "postgres" / "postmaster.pid").read_text().split()[0]))
    assert server.is_running()
    assert main(["verify", str(tmp_path / "database.tar")]) == 0
    assert not scratch.exists()
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE
