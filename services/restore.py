"""Restores a backup: builds the schemas beside the live ones in steps, then swaps them in one short transaction.

A killed restore has either changed nothing, or only its last steps are missing: move the model files, erase users again
who were erased after the backup, and drop the replaced schemas. `finish_earlier` finds out which, and completes it.
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
from core.stores import backup_store, model_store
from erasure import suppression_list
from services.backup_contents import foreign_entries, restore_steps
from services.backup_file import (
    DUMP,
    MODELS,
    BackupError,
    Manifest,
    local_backup,
    schema_versions,
    shown_location,
    unpack,
    work_folder,
)
from services.local_services import ROOT, LocalServices
from services.postgres_tools import PostgresTools, find_postgres_tools
from services.supervision import Supervisor

_SINCE_ROLES = "0007"
_LISTING, _STEP = "listing", "step"
_CHUNK = 1 << 20
# The settings at the start of pg_restore's output are shorter than this.
_HEADER = 4096
_SINCE_17 = b"\nSET transaction_timeout = 0;\n"
_TABLES_AT_ONCE = 50
# Postgres lists a closed connection for a moment.
_SECONDS_TO_DISCONNECT = 5.0


def restore(services: LocalServices, file: str, *, force: bool = False) -> Manifest:
    """Restore database and model files from a backup. The database changes in one transaction.

    `file` is a path, or a URL below BACKUPS_URL. `force` replaces existing schemas of ours. Raises BackupError,
    AlreadyRunning, DatabaseError, ObjectStoreError.
    """
    settings = services.settings
    with work_folder(DataLayout(settings.data_dir).backups) as work:
        with local_backup(settings, file) as path:
            manifest = unpack(path, work, shown_location(file))
        _refuse_services(services)
        url = ensure_database(settings)
        with connect(url) as connection:
            _refuse_database_in_use(connection)
            if side_schemas.find_schemas(connection, RESTORING, REPLACED):
                with readable_errors():
                    connection.execute("select pg_advisory_unlock_all()")
                finish_earlier(settings, url)
                _refuse_database_in_use(connection, _SECONDS_TO_DISCONNECT)
                if remaining := side_schemas.find_schemas(connection, RESTORING, REPLACED):
                    raise BackupError(
                        f"{remaining[0]}, of an earlier restore, cannot be deleted; delete it, then try again"
                    )
            if not force and side_schemas.find_schemas(connection, ""):
                raise BackupError("the database is not empty; to replace its content, add FORCE=yes")
            try:
                created_roles = build_beside(connection, find_postgres_tools(settings, url), work, manifest)
                shutil.rmtree(DataLayout(settings.data_dir).restored_models, ignore_errors=True)
                (work / MODELS).replace(DataLayout(settings.data_dir).restored_models)
                side_schemas.swap_schemas(connection)
            except BaseException as error:
                _drop_unfinished(connection, settings)
                if isinstance(error, (BackupError, DatabaseError)) and not isinstance(error, DatabaseUnavailable):
                    raise BackupError(f"{error}; the database is unchanged") from error
                raise
            _print_result(file, manifest, created_roles)
            completed = _complete(connection, settings)
    if not completed:
        _erase_again()
        _drop_replaced(settings, url)
    return manifest


def finish_earlier(settings: Settings, url: str) -> None:
    """Complete a killed restore if its schemas are live already; otherwise delete its schemas.

    Raises AlreadyRunning while a restore runs, BackupError, DatabaseError.
    """
    with connect(url) as connection:
        if not side_schemas.find_schemas(connection, RESTORING, REPLACED):
            return
        _take_locks(connection, settings.lock_wait_seconds)
        if not side_schemas.find_schemas(connection, REPLACED):
            print("an earlier restore was killed before it changed anything: its schemas are deleted first", flush=True)
            side_schemas.drop_schemas(connection, RESTORING)
            shutil.rmtree(DataLayout(settings.data_dir).restored_models, ignore_errors=True)
            return
        print("an earlier restore was killed after its last change: it is completed first", flush=True)
        completed = _complete(connection, settings)
    if not completed:
        _erase_again()
        _drop_replaced(settings, url)


def build_beside(connection: Connection, tools: PostgresTools, work: Path, manifest: Manifest) -> list[str]:
    """Restore the dump in `work` beside the live schemas, and count its rows. Return the roles that it created.

    Raises BackupError, DatabaseError. After an error, the caller drops the incomplete schemas.
    """
    version = connection.info.server_version
    pg_restore, psql = (tools.path(name, version) for name in ("pg_restore", "psql"))
    tools.run(pg_restore, "--list", f"--file={work / _LISTING}", str(work / DUMP))  # fails for an unreadable format
    listing = (work / _LISTING).read_text()
    if foreign := foreign_entries(listing):
        raise BackupError(f"in the backup, {foreign_code_error(foreign)}")
    created_roles = _create_roles(connection, manifest.roles)
    _restore_dump(tools, (pg_restore, psql), work, restore_steps(listing), version)
    with side_schemas.restore_step(connection):
        refuse_foreign_code(connection)
    _compare_counts(connection, manifest)
    with readable_errors():
        for table in connection.execute(load_query("restore/tables.find_tables_to_analyze")).fetchall():
            connection.execute(sql.SQL("analyze {}").format(sql.Identifier(*table)))
    if manifest.schema_version >= _SINCE_ROLES:
        while _change_owners(connection):
            pass
    return created_roles


def _drop_unfinished(connection: Connection, settings: Settings) -> None:
    """Drop incomplete schemas. If the database is unavailable, the next command does so."""
    with suppress(DatabaseError, psycopg.Error):
        if side_schemas.find_schemas(connection, REPLACED):
            return  # the swap succeeded, and a later step failed
        side_schemas.drop_schemas(connection, RESTORING)
        shutil.rmtree(DataLayout(settings.data_dir).restored_models, ignore_errors=True)


def _complete(connection: Connection, settings: Settings) -> bool:
    """Run the steps after the swap. Return False if suppressed users must be erased before the last step."""
    _move_models(settings)
    if suppression_list.read_copy(backup_store(settings)):
        return False
    _drop_both(connection)
    return True


def _drop_both(connection: Connection) -> None:
    """Drop both side schemas, which marks the restore as complete. If that fails, the next command does so."""
    try:
        side_schemas.drop_schemas(connection, RESTORING, REPLACED)
    except DatabaseError as error:
        print(f"the replaced schemas are not deleted yet ({error}); the next backup or restore does so", flush=True)


def _drop_replaced(settings: Settings, url: str) -> None:
    with connect(url) as connection:
        _take_locks(connection, max(settings.lock_wait_seconds, _SECONDS_TO_DISCONNECT))
        _drop_both(connection)


def _erase_again() -> None:
    """Erase the users of the suppression list, who are back if the backup is older. Raises BackupError."""
    command = [sys.executable, "-m", "flows.erase", "--again"]
    if subprocess.run(command, check=False, stdin=subprocess.DEVNULL, cwd=ROOT).returncode:
        raise BackupError("restored, but users who were erased since are back: first run python -m flows.erase --again")


def _refuse_services(services: LocalServices) -> None:
    """Raise BackupError while services or runs of this DATA_DIR are active."""
    supervisor = Supervisor(services)
    if supervisor.states() or supervisor.leftovers():
        raise BackupError("services run; first stop them: make down")
    if services.settings.embedded:
        embedded_postgres.stop_if_unused(services.settings.data_dir)
        if embedded_postgres.in_use(services.settings.data_dir):
            raise BackupError(
                f"a run or another program uses the database in {services.settings.data_dir}; wait for it"
            )


def _refuse_database_in_use(connection: Connection, wait_seconds: float = 0) -> None:
    """Take both locks. Raises AlreadyRunning, or BackupError while there are other connections."""
    _take_locks(connection, wait_seconds)
    deadline = time.monotonic() + _SECONDS_TO_DISCONNECT
    while names := _other_connections(connection):
        if time.monotonic() >= deadline:
            raise BackupError(
                f"the database is in use by {len(names)} connection(s), such as {names[0]}; close them first"
            )
        time.sleep(0.2)


@readable_errors()
def _other_connections(connection: Connection) -> list[str]:
    """Return the application names of other connections."""
    rows = connection.execute(
        "select coalesce(nullif(application_name, ''), 'unnamed') from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid() and usename is not null order by 1"
    )
    return [name for (name,) in rows]


def _take_locks(connection: Connection, wait_seconds: float) -> None:
    """Take the training lock, then the warehouse lock, in the order of all runs. Raises AlreadyRunning."""
    take_training_lock(connection, wait_seconds)
    take_warehouse_lock(connection, wait_seconds)


def _create_roles(connection: Connection, names: Sequence[str]) -> list[str]:
    """Create missing roles without a login, and return them. Raises DatabaseError."""
    missing = "select name from unnest(%s::text[]) as name where not exists (select from pg_roles where rolname = name)"
    with readable_errors():
        created = [name for (name,) in connection.execute(missing, [[*names, *(set(ROLES) - set(names))]])]
        connection.execute(load_query("roles/create_roles"))  # its error says what an administrator must run
        for name in set(created) - set(ROLES):
            role = sql.Identifier(name)
            connection.execute(sql.SQL("create role {} nologin").format(role))
            connection.execute(sql.SQL("grant {} to current_user").format(role))
    return created


def _change_owners(connection: Connection) -> int:
    """Give some tables to the roles that own them in a migrated schema. Return the number of tables."""
    with side_schemas.restore_step(connection):
        statements = connection.execute(load_query("roles/change_table_owners")).fetchmany(_TABLES_AT_ONCE)
        for (statement,) in statements:
            connection.execute(statement)
    return len(statements)


def _compare_counts(connection: Connection, manifest: Manifest) -> None:
    """Compare schema version and row counts with the manifest. Raises BackupError."""
    version = sql.Identifier(f"{RESTORING}ops", "schema_version")
    _expect(
        connection, sql.SQL("select max(version_num) from {}").format(version), manifest.schema_version, "the schema"
    )
    for name, rows in manifest.tables.items():
        schema, table = name.split(".", 1)
        count = sql.SQL("select count(*) from {}").format(sql.Identifier(RESTORING + schema, table))
        _expect(connection, count, rows, sql.Identifier(schema, table).as_string())


def _expect(connection: Connection, query: sql.Composed, expected: object, name: str) -> None:
    try:
        with readable_errors():
            (value,) = connection.execute(query).fetchone() or (None,)
    except DatabaseError as error:
        if not isinstance(error.__cause__, psycopg.errors.UndefinedTable):
            raise
        value = None
    if value != expected:
        raise BackupError(f"{name} is not complete")


def _restore_dump(
    tools: PostgresTools, paths: tuple[str, str], work: Path, steps: Sequence[str], server_version: int
) -> None:
    """Restore the dump into the side schemas, each step in its own transaction. Raises DatabaseError."""
    pg_restore, psql = paths
    psql_command = [psql, "-X", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1", f"--dbname={tools.target}"]
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(
            psql_command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=output, env=tools.environment
        ) as writer,
    ):
        script = cast(IO[bytes], writer.stdin)
        with suppress(BrokenPipeError), script:
            for step in steps:
                (work / _STEP).write_text(step)
                script.write(f"begin;\n{load_query('restore/schemas.begin_step')};\n".encode())
                # This server may not have the tablespace of old months; the next maintenance moves them again.
                options = ["--no-owner", "--no-tablespaces", f"--use-list={work / _STEP}", "--file=-"]
                read = [pg_restore, *options, str(work / DUMP)]
                for chunk in _sql_of_dump(tools, read, server_version):
                    script.write(chunk)
                # An error before this line rolls the step back.
                script.write(f"\n{load_query('restore/schemas.end_step')};\ncommit;\n".encode())
        if writer.wait():
            raise DatabaseError(tools.error_line("psql", output))


def _sql_of_dump(tools: PostgresTools, command: Sequence[str], server_version: int) -> Iterator[bytes]:
    """Yield the output of pg_restore, without a setting that older servers do not know. Raises DatabaseError."""
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=output, env=tools.environment) as reader,
        cast(IO[bytes], reader.stdout) as statements,
    ):
        header = statements.read(_HEADER)
        yield header.replace(_SINCE_17, b"\n", 1) if server_version < 170_000 else header
        while chunk := statements.read(_CHUNK):
            yield chunk
        if reader.wait():
            raise DatabaseError(tools.error_line("pg_restore", output))


def _move_models(settings: Settings) -> None:
    """Move the model files to their store. The next publication deletes models that nothing needs."""
    waiting, models = DataLayout(settings.data_dir).restored_models, model_store(settings)
    if not waiting.is_dir():
        return
    for path in waiting.iterdir():
        with models.new_file(path.name) as copy:
            shutil.copyfile(path, copy)
        path.unlink()
    waiting.rmdir()


def _print_result(file: str, manifest: Manifest, created_roles: Sequence[str]) -> None:
    print(f"restored {shown_location(file)}, written at {manifest.made_at}: {manifest}; all rows are counted")
    if created_roles:
        print(f"missing roles are created without a login: {', '.join(created_roles)}")
    if manifest.schema_version != max(schema_versions()):
        print("the schema is older than this version; the next run migrates it")
    print("a backup has no raw pages: run an ingest next, which extracts full snapshots", flush=True)
