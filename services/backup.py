"""Back up, restore and verify. `make backup`, `make restore` and `make verify` call it.

A backup is one file with the tables of our schemas and the trained models. It omits what a run creates again:
`staging.*`, transformed rows, Data Docs, and raw pages, because every ingest extracts full snapshots.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from core.clock import clock_of
from core.data_layout import DataLayout
from core.database import Connection, connect, ensure_database, readable_errors, take_warehouse_lock, warehouse_lock
from core.errors import AlreadyRunning, UsageError, named_errors
from core.exit_codes import returns_exit_code, run_main
from core.file_store import FolderStore
from core.roles import refuse_foreign_code
from core.settings import Settings
from core.side_schemas import SCHEMAS
from core.stores import backup_store
from core.temporary_files import keep_temporary_files_in
from core.terminal import prepare_terminal
from services.backup_file import (
    DUMP,
    NAME,
    BackupError,
    Manifest,
    model_files,
    pack,
    prune,
    shown_location,
    work_folder,
)
from services.local_services import ROOT, load_local_services
from services.postgres_tools import find_postgres_tools
from services.restore import finish_earlier, restore
from services.table_contents import count_and_checksum, count_constraints
from services.verification import clear_leftovers, verify


def backup(settings: Settings, file: Path | None = None) -> str:
    """Write a backup and return its path or URL. Only the owner can read it. It gets its name when it is complete.

    Raises BackupError, AlreadyRunning, DatabaseError, ObjectStoreError.
    """
    now = clock_of(settings)().astimezone(UTC)
    backups, name = backup_store(settings), f"{now:{NAME}}"
    if file is not None:
        target = file.expanduser().resolve()
        backups, name = FolderStore(target.parent), target.name
    if backups.exists(name):
        raise UsageError(f"{backups.location_of(name)} exists already; name another file, or move it away")
    scratch = backups.folder if isinstance(backups, FolderStore) else DataLayout(settings.data_dir).backups
    url = ensure_database(settings)
    finish_earlier(settings, url)
    tools = find_postgres_tools(settings, url)
    with work_folder(scratch) as work, connect(url) as connection, _locked_warehouse(connection, settings):
        version = connection.info.server_version
        pg_dump = tools.path("pg_dump", version)
        with readable_errors(), connection.transaction():
            connection.execute("set transaction isolation level repeatable read, read only")
            _refuse_empty_database(connection)
            refuse_foreign_code(connection)  # after a restore it would run with the owner's rights
            manifest = _manifest(connection, now, model_files(settings))
            (snapshot,) = connection.execute("select pg_export_snapshot()").fetchone() or ("",)
            schema_options = [f"--schema={name}" for name in SCHEMAS]
            tools.run(
                pg_dump, "--format=custom", "--no-password", f"--snapshot={snapshot}", *schema_options,
                "--exclude-table=staging.*", f"--file={work / DUMP}", f"--dbname={tools.target}",
            )  # fmt: skip
        with backups.new_file(name) as path:
            pack(path, work / DUMP, manifest, settings)
            size = path.stat().st_size
    location = backups.location_of(name)
    print(f"backed up {manifest}: {shown_location(location)} ({size / 1e6:,.1f} MB)", flush=True)
    pruned = prune(settings, location, now)
    if pruned:
        print(f"deleted {pruned} older backup(s); {settings.backups_kept} are kept (BACKUPS_KEPT)", flush=True)
    return location


@contextmanager
def _locked_warehouse(connection: Connection, settings: Settings) -> Iterator[None]:
    """Hold the warehouse lock, so that model files and database match. Raises AlreadyRunning."""
    try:
        take_warehouse_lock(connection, 0)
    except AlreadyRunning:
        print(f"waiting up to {settings.lock_wait_seconds:g} s for an active run", flush=True)
        with warehouse_lock(connection, settings.lock_wait_seconds):
            yield
    else:
        yield  # the end of the connection releases the lock


def _manifest(connection: Connection, now: datetime, models: Sequence[str]) -> Manifest:
    """Describe the content of the database snapshot that is dumped. Users may send feedback meanwhile."""
    (schema_version,) = connection.execute("select version_num from ops.schema_version").fetchone() or ("",)
    names = connection.execute(
        "select nspname, relname from pg_class join pg_namespace as schema on schema.oid = relnamespace"
        " where relkind = 'r' and nspname = any(%s) and nspname <> 'staging' order by 1, 2",
        [list(SCHEMAS)],
    ).fetchall()
    contents = {}
    for schema, table in names:
        with connection.transaction(force_rollback=True):  # releases the locks of the table's indexes
            contents[f"{schema}.{table}"] = count_and_checksum(connection, schema, table)
    return Manifest(
        made_at=now.isoformat(timespec="seconds"),
        schema_version=schema_version,
        server_version=connection.info.server_version,
        roles=_roles_with_rights(connection),
        tables={name: rows for name, (rows, _) in contents.items()},
        models=list(models),
        checksums={name: checksum for name, (_, checksum) in contents.items()},
        constraints=count_constraints(connection),
    )


def _refuse_empty_database(connection: Connection) -> None:
    if not _has_version(connection):
        raise BackupError("there is nothing to back up: the database has no tables of MoovitaMix yet")


def _has_version(connection: Connection) -> bool:
    (exists,) = connection.execute("select to_regclass('ops.schema_version') is not null").fetchone() or (False,)
    return bool(exists)


def _roles_with_rights(connection: Connection) -> list[str]:
    """Return the roles with rights in our schemas. A dump does not contain roles: they belong to the server."""
    rows = connection.execute(
        "with rights as ("
        " select nspacl as acl, nspowner as owner from pg_namespace where nspname = any(%(schemas)s)"
        " union all select relacl, relowner from pg_class where relnamespace::regnamespace::text = any(%(schemas)s)"
        " union all select proacl, proowner from pg_proc where pronamespace::regnamespace::text = any(%(schemas)s)"
        " union all select attacl, relowner from pg_attribute join pg_class as of on of.oid = attrelid"
        " where relnamespace::regnamespace::text = any(%(schemas)s))"
        " select distinct rolname::text from rights, aclexplode(acl) as granted join pg_roles as role"
        " on role.oid = granted.grantee where granted.grantee <> owner order by 1",
        {"schemas": list(SCHEMAS)},
    )
    return [name for (name,) in rows]


@returns_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return the exit code: 0, 1, or 2 for wrong usage or settings. An error is one line."""
    parser = argparse.ArgumentParser(prog="python -m services.backup", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    make_parser = commands.add_parser("make", help="write a backup")
    make_parser.add_argument(
        "file", type=Path, nargs="?", help="default: DATA_DIR/backups/<time>.tar, or below BACKUPS_URL"
    )
    restore_parser = commands.add_parser("restore", help="restore a backup")
    restore_parser.add_argument("file", help="file or URL written by `make backup` (BACKUP=file)")
    restore_parser.add_argument("--force", action="store_true", help="replace what the database holds (FORCE=yes)")
    verify_parser = commands.add_parser("verify", help="restore a backup beside the database, and compare the content")
    verify_parser.add_argument("file", help="file or URL written by `make backup` (BACKUP=file)")
    prepare_terminal()
    options = parser.parse_args(arguments)
    os.chdir(ROOT)
    services = load_local_services()
    keep_temporary_files_in(services.settings.data_dir)
    with named_errors():
        clear_leftovers(services.settings)
        if options.command == "make":
            backup(services.settings, options.file)
        elif options.command == "verify":
            verify(services.settings, options.file)
        else:
            restore(services, options.file, force=options.force)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
