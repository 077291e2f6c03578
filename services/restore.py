"""The way back from a backup: built beside the live schemas in steps, then put in place in one short transaction.

A restore that is killed has either changed nothing, or it is complete but for its end: the model files, erasing again
who was erased since, and dropping what was replaced. `finish_earlier` tells which, and ends it.
See docs/adr/0024-a-restore-swaps-schemas.md.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

import psycopg
from psycopg import sql

from core import embedded_postgres, side_schemas
from core.data_layout import DataLayout
from core.database import Connection, connect, ensure_database, readable_errors, take_training_lock, take_warehouse_lock
from core.errors import DatabaseError, DatabaseUnavailable
from core.queries import load_query
from core.roles import ROLES, foreign_code_error, refuse_foreign_code
from core.settings import Settings
from core.side_schemas import REPLACED, RESTORING
from erasure import suppression_list
from services.backup_contents import foreign_entries, steps
from services.backup_file import DUMP, MODELS, BackupError, Manifest, known_versions, short, unpack, work_folder
from services.local_services import ROOT, LocalServices
from services.postgres_tools import PostgresTools, find_postgres_tools
from services.supervision import Supervisor

_SINCE_ROLES = "0007"
_LISTING, _STEP = "listing", "step"
_CHUNK = 1 << 20
# The settings that pg_restore begins with end well before this.
_HEADER = 4096
_SINCE_17 = b"\nSET transaction_timeout = 0;\n"
_TABLES_AT_ONCE = 50
# A connection that was closed is seen for another moment.
_SECONDS_TO_DISCONNECT = 5.0


def restore(services: LocalServices, path: Path, *, force: bool = False) -> Manifest:
    """Bring database and model files back from a backup. The database changes in one transaction, or not at all.

    With `force`, what the database has of ours is replaced. Raises BackupError, AlreadyRunning, DatabaseError.
    """
    settings = services.settings
    path = path.expanduser().resolve()
    with work_folder(DataLayout(settings.data_dir).backups) as work:
        manifest = unpack(path, work)
        _refuse_services(services)
        url = ensure_database(settings)
        with connect(url) as connection:
            _refuse_a_database_in_use(connection)
            if side_schemas.find_schemas(connection, RESTORING, REPLACED):
                with readable_errors():
                    connection.execute("select pg_advisory_unlock_all()")
                finish_earlier(settings, url)
                _refuse_a_database_in_use(connection, _SECONDS_TO_DISCONNECT)
                if left := side_schemas.find_schemas(connection, RESTORING, REPLACED):
                    raise BackupError(f"{left[0]}, of an earlier restore, cannot be deleted; delete it, then try again")
            if not force and side_schemas.find_schemas(connection, ""):
                raise BackupError("the database is not empty; to replace all that is in it, add FORCE=yes")
            try:
                made = build_beside(connection, find_postgres_tools(settings, url), work, manifest)
                shutil.rmtree(DataLayout(settings.data_dir).restored_models, ignore_errors=True)
                (work / MODELS).replace(DataLayout(settings.data_dir).restored_models)
                side_schemas.swap_schemas(connection)
            except BaseException as error:
                _clear_away(connection, settings)
                if isinstance(error, (BackupError, DatabaseError)) and not isinstance(error, DatabaseUnavailable):
                    raise BackupError(f"{error}; the database is as it was") from error
                raise
            _tell(path, manifest, made)
            completed = _complete(connection, settings)
    if not completed:
        _erase_again()
        _drop_replaced(settings, url)
    return manifest


def finish_earlier(settings: Settings, url: str) -> None:
    """End a restore that was killed: clear away what was not put in place, complete what was.

    Raises AlreadyRunning while a restore is at work, BackupError, DatabaseError.
    """
    with connect(url) as connection:
        if not side_schemas.find_schemas(connection, RESTORING, REPLACED):
            return
        _take_locks(connection, settings.lock_wait_seconds)
        if not side_schemas.find_schemas(connection, REPLACED):
            print("an earlier restore was killed before it changed anything: its remains are deleted first", flush=True)
            side_schemas.drop_schemas(connection, RESTORING)
            shutil.rmtree(DataLayout(settings.data_dir).restored_models, ignore_errors=True)
            return
        print("an earlier restore was killed when all was restored: it is completed first", flush=True)
        completed = _complete(connection, settings)
    if not completed:
        _erase_again()
        _drop_replaced(settings, url)


def build_beside(connection: Connection, programs: PostgresTools, work: Path, manifest: Manifest) -> list[str]:
    """Restore the dump in `work` beside the live schemas, and count its rows. Returns the roles that it had to make.

    Raises BackupError, DatabaseError; what was built until then is left.
    """
    version = connection.info.server_version
    pg_restore, psql = (programs.path(name, version) for name in ("pg_restore", "psql"))
    programs.run(pg_restore, "--list", f"--file={work / _LISTING}", str(work / DUMP))  # of a format it reads
    listing = (work / _LISTING).read_text()
    if others := foreign_entries(listing):
        raise BackupError(f"in the backup, {foreign_code_error(others)}")
    made = _make_roles(connection, manifest.roles)
    _replay(programs, (pg_restore, psql), work, steps(listing), version)
    with side_schemas.restore_step(connection):
        refuse_foreign_code(connection)
    _count_again(connection, manifest)
    with readable_errors():
        for table in connection.execute(load_query("restore/tables.find_tables_to_analyze")).fetchall():
            connection.execute(sql.SQL("analyze {}").format(sql.Identifier(*table)))
    if manifest.schema_version >= _SINCE_ROLES:
        while _hand_over_some(connection):
            pass
    return made


def _clear_away(connection: Connection, settings: Settings) -> None:
    """What was built and not put in place. When the database is away, the next command does it."""
    with suppress(DatabaseError, psycopg.Error):
        if side_schemas.find_schemas(connection, REPLACED):
            return  # it is in place, whatever broke afterwards
        side_schemas.drop_schemas(connection, RESTORING)
        shutil.rmtree(DataLayout(settings.data_dir).restored_models, ignore_errors=True)


def _complete(connection: Connection, settings: Settings) -> bool:
    """What follows when the database is in place. Returns False where somebody is to be erased again before the end."""
    _place_models(settings)
    if suppression_list.read_copy(settings.data_dir):
        return False
    _drop_both(connection)
    return True


def _drop_both(connection: Connection) -> None:
    """Last of all, as it says that a restore has ended. What cannot be dropped now, the next command drops."""
    try:
        side_schemas.drop_schemas(connection, RESTORING, REPLACED)
    except DatabaseError as error:
        print(f"what was replaced is not deleted yet ({error}); the next backup or restore does it", flush=True)


def _drop_replaced(settings: Settings, url: str) -> None:
    with connect(url) as connection:
        _take_locks(connection, max(settings.lock_wait_seconds, _SECONDS_TO_DISCONNECT))
        _drop_both(connection)


def _erase_again() -> None:
    """Who was erased after the backup was made is in it: the list beside the backups knows. Raises BackupError."""
    again = [sys.executable, "-m", "flows.erase", "--again"]
    if subprocess.run(again, check=False, stdin=subprocess.DEVNULL, cwd=ROOT).returncode:
        raise BackupError(
            "restored, but listeners who were erased since are back: run python -m flows.erase --again before all else"
        )


def _refuse_services(services: LocalServices) -> None:
    """Raises BackupError while something of this DATA_DIR runs."""
    supervisor = Supervisor(services)
    if supervisor.states() or supervisor.leftovers():
        raise BackupError("services run; first stop them: make down")
    if services.settings.embedded:
        embedded_postgres.stop_if_unused(services.settings.data_dir)
        if embedded_postgres.in_use(services.settings.data_dir):
            raise BackupError(
                f"a run or another program uses the database in {services.settings.data_dir}; wait for it"
            )


def _refuse_a_database_in_use(connection: Connection, wait_seconds: float = 0) -> None:
    """Take both locks. Raises BackupError or AlreadyRunning when somebody is connected, also after a moment."""
    _take_locks(connection, wait_seconds)
    until = time.monotonic() + _SECONDS_TO_DISCONNECT
    while others := _other_connections(connection):
        if time.monotonic() >= until:
            raise BackupError(
                f"the database is in use by {len(others)} connection(s), such as {others[0]}; end them first"
            )
        time.sleep(0.2)


@readable_errors()
def _other_connections(connection: Connection) -> list[str]:
    """Who else is connected."""
    rows = connection.execute(
        "select coalesce(nullif(application_name, ''), 'unnamed') from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid() and usename is not null order by 1"
    )
    return [name for (name,) in rows]


def _take_locks(connection: Connection, wait_seconds: float) -> None:
    """Those of trainings and of the warehouse, in the order in which all take them. Raises AlreadyRunning."""
    take_training_lock(connection, wait_seconds)
    take_warehouse_lock(connection, wait_seconds)


def _make_roles(connection: Connection, names: Sequence[str]) -> list[str]:
    """Make those that the server lacks, without a login, and return them. Raises DatabaseError."""
    lacking = "select name from unnest(%s::text[]) as name where not exists (select from pg_roles where rolname = name)"
    with readable_errors():
        made = [name for (name,) in connection.execute(lacking, [[*names, *(set(ROLES) - set(names))]])]
        connection.execute(load_query("roles/create_roles"))  # says what to run where we may not
        for name in set(made) - set(ROLES):
            role = sql.Identifier(name)
            connection.execute(sql.SQL("create role {} nologin").format(role))
            connection.execute(sql.SQL("grant {} to current_user").format(role))
    return made


def _hand_over_some(connection: Connection) -> int:
    """Whoever restores owns everything; these tables belong to roles. Returns how many were handed over."""
    with side_schemas.restore_step(connection):
        statements = connection.execute(load_query("roles/change_table_owners")).fetchmany(_TABLES_AT_ONCE)
        for (hand_over,) in statements:
            connection.execute(hand_over)
    return len(statements)


def _count_again(connection: Connection, manifest: Manifest) -> None:
    """Hold version and rows against the manifest. Raises BackupError."""
    version = sql.Identifier(f"{RESTORING}ops", "schema_version")
    _expect(
        connection, sql.SQL("select max(version_num) from {}").format(version), manifest.schema_version, "the schema"
    )
    for name, rows in manifest.tables.items():
        schema, table = name.split(".", 1)
        counted = sql.SQL("select count(*) from {}").format(sql.Identifier(RESTORING + schema, table))
        _expect(connection, counted, rows, sql.Identifier(schema, table).as_string())


def _expect(connection: Connection, query: sql.Composed, expected: object, what: str) -> None:
    try:
        with readable_errors():
            (found,) = connection.execute(query).fetchone() or (None,)
    except DatabaseError as error:
        if not isinstance(error.__cause__, psycopg.errors.UndefinedTable):
            raise
        found = None
    if found != expected:
        raise BackupError(f"{what} is not whole")


def _replay(
    programs: PostgresTools, paths: tuple[str, str], work: Path, parts: Sequence[str], server_version: int
) -> None:
    """Restore the dump into the side schemas, each part in a transaction of its own. Raises DatabaseError."""
    pg_restore, psql = paths
    ask = [psql, "-X", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1", f"--dbname={programs.target}"]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            ask, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said, env=programs.environment
        ) as writer,
    ):
        script = cast(IO[bytes], writer.stdin)
        with suppress(BrokenPipeError), script:
            for part in parts:
                (work / _STEP).write_text(part)
                script.write(f"begin;\n{load_query('restore/schemas.begin_step')};\n".encode())
                read = [pg_restore, "--no-owner", f"--use-list={work / _STEP}", "--file=-", str(work / DUMP)]
                for chunk in _sql_of_dump(programs, read, server_version):
                    script.write(chunk)
                # Without this, the end of the script undoes what it has of this part.
                script.write(f"\n{load_query('restore/schemas.end_step')};\ncommit;\n".encode())
        if writer.wait():
            raise DatabaseError(programs.error_line("psql", said))


def _sql_of_dump(programs: PostgresTools, command: Sequence[str], server_version: int) -> Iterator[bytes]:
    """What pg_restore writes, without the one setting that an older server does not know. Raises DatabaseError."""
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, env=programs.environment) as reader,
        cast(IO[bytes], reader.stdout) as statements,
    ):
        header = statements.read(_HEADER)
        yield header.replace(_SINCE_17, b"\n", 1) if server_version < 170_000 else header
        while chunk := statements.read(_CHUNK):
            yield chunk
        if reader.wait():
            raise DatabaseError(programs.error_line("pg_restore", said))


def _place_models(settings: Settings) -> None:
    """Each file whole, in place of one of its name; others stay, and the next publication prunes what nobody needs."""
    waiting, folder = DataLayout(settings.data_dir).restored_models, DataLayout(settings.data_dir).models
    if not waiting.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for path in waiting.iterdir():
        path.replace(folder / path.name)
    waiting.rmdir()


def _tell(path: Path, manifest: Manifest, made: Sequence[str]) -> None:
    print(f"restored {short(path)}, made at {manifest.made_at}: {manifest}, all counted again")
    if made:
        print(f"roles that were missing are made, without a login: {', '.join(made)}")
    if manifest.schema_version != max(known_versions()):
        print("the schema is older than this version; the next run brings it up to date")
    print("raw pages are not in a backup: run the ingest next, it reads the full lists", flush=True)
