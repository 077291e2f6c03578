"""One file of what cannot be made again, and the way back. `make backup`, `make restore` and `make verify` call it.

In the file are the tables of our schemas and the trained models. Left out is what a run makes again: `staging.*`,
shaped parts, Data Docs; and the raw pages, as every read of the source is the full list.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from core import side_schemas
from core.clock import clock_of
from core.data_layout import DataLayout
from core.database import Connection, connect, ensure_database, readable_errors, take_warehouse_lock, warehouse_lock
from core.errors import AlreadyRunning, UsageError, named_errors
from core.exit_codes import returns_exit_code, run_main
from core.roles import refuse_foreign_code
from core.settings import Settings
from core.side_schemas import SCHEMAS
from core.temporary_files import keep_temporary_files_in
from core.terminal import prepare_terminal
from services.backup_file import DUMP, NAME, BackupError, Manifest, model_files, pack, prune, short, work_folder
from services.local_services import ROOT, load_local_services
from services.postgres_tools import find_postgres_tools
from services.restore import finish_earlier, restore
from services.table_contents import count_and_checksum, count_constraints
from services.verification import clear_leftovers, verify


def backup(settings: Settings, wanted: Path | None = None) -> Path:
    """Write one file and return its path. It bears its name only when it is whole. Readable by its owner only.

    Raises BackupError, AlreadyRunning, DatabaseError.
    """
    now = clock_of(settings)().astimezone(UTC)
    target = (wanted or DataLayout(settings.data_dir).backups / f"{now:{NAME}}").expanduser().resolve()
    if target.exists():
        raise UsageError(f"{target} is there already; name another file, or move it away")
    url = ensure_database(settings)
    finish_earlier(settings, url)
    programs = find_postgres_tools(settings, url)
    with work_folder(target.parent) as work, connect(url) as connection, _nobody_writes(connection, settings):
        version = connection.info.server_version
        pg_dump = programs.path("pg_dump", version)
        with readable_errors(), connection.transaction():
            connection.execute("set transaction isolation level repeatable read, read only")
            _refuse_an_empty_database(connection)
            refuse_foreign_code(connection)  # a restore would make it the owner's
            manifest = _manifest(connection, now, model_files(settings))
            (snapshot,) = connection.execute("select pg_export_snapshot()").fetchone() or ("",)
            wanted_schemas = [f"--schema={name}" for name in SCHEMAS]
            programs.run(
                pg_dump, "--format=custom", "--no-password", f"--snapshot={snapshot}", *wanted_schemas,
                "--exclude-table=staging.*", f"--file={work / DUMP}", f"--dbname={programs.target}",
            )  # fmt: skip
        pack(target, work / DUMP, manifest, settings)
    print(f"backed up {manifest}: {short(target)} ({target.stat().st_size / 1e6:,.1f} MB)", flush=True)
    pruned = prune(settings, target, now)
    if pruned:
        print(f"deleted {pruned} older backup(s); {settings.backups_kept} are kept (BACKUPS_KEPT)", flush=True)
    return target


@contextmanager
def _nobody_writes(connection: Connection, settings: Settings) -> Iterator[None]:
    """The lock of the warehouse, so that model files and database belong together. Raises AlreadyRunning."""
    try:
        take_warehouse_lock(connection, 0)
    except AlreadyRunning:
        print(f"waiting for the run at work, up to {settings.lock_wait_seconds:g} s", flush=True)
        with warehouse_lock(connection, settings.lock_wait_seconds):
            yield
    else:
        yield  # given back with the connection


def _manifest(connection: Connection, now: datetime, models: Sequence[Path]) -> Manifest:
    """Counted in the snapshot that is dumped: feedback comes in meanwhile."""
    (schema_version,) = connection.execute("select version_num from ops.schema_version").fetchone() or ("",)
    names = connection.execute(
        "select nspname, relname from pg_class join pg_namespace as schema on schema.oid = relnamespace"
        " where relkind = 'r' and nspname = any(%s) and nspname <> 'staging' order by 1, 2",
        [list(SCHEMAS)],
    ).fetchall()
    contents = {}
    for schema, table in names:
        with connection.transaction(force_rollback=True):  # gives back the locks of its indexes
            contents[f"{schema}.{table}"] = count_and_checksum(connection, schema, table)
    return Manifest(
        made_at=now.isoformat(timespec="seconds"),
        schema_version=schema_version,
        server_version=connection.info.server_version,
        roles=_roles_with_rights(connection),
        tables={name: rows for name, (rows, _) in contents.items()},
        models=[path.name for path in models],
        checksums={name: checksum for name, (_, checksum) in contents.items()},
        constraints=count_constraints(connection),
    )


def _refuse_an_empty_database(connection: Connection) -> None:
    if len(side_schemas.find_schemas(connection, "")) < len(SCHEMAS) or not _has_version(connection):
        raise BackupError("there is nothing to back up: the database has no tables of ours yet")


def _has_version(connection: Connection) -> bool:
    (there,) = connection.execute("select to_regclass('ops.schema_version') is not null").fetchone() or (False,)
    return bool(there)


def _roles_with_rights(connection: Connection) -> list[str]:
    """Who was granted something in our schemas: roles belong to the server, and are not in a dump."""
    rows = connection.execute(
        "with rights as ("
        " select nspacl as acl, nspowner as owner from pg_namespace where nspname = any(%(ours)s)"
        " union all select relacl, relowner from pg_class where relnamespace::regnamespace::text = any(%(ours)s)"
        " union all select proacl, proowner from pg_proc where pronamespace::regnamespace::text = any(%(ours)s)"
        " union all select attacl, relowner from pg_attribute join pg_class as of on of.oid = attrelid"
        " where relnamespace::regnamespace::text = any(%(ours)s))"
        " select distinct rolname::text from rights, aclexplode(acl) as granted join pg_roles as role"
        " on role.oid = granted.grantee where granted.grantee <> owner order by 1",
        {"ours": list(SCHEMAS)},
    )
    return [name for (name,) in rows]


@returns_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked; an error with a name is one line. Exit 0, 1 or, for wrong usage or settings, 2."""
    parser = argparse.ArgumentParser(prog="python -m services.backup", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="write a backup")
    making.add_argument("file", type=Path, nargs="?", help="default: DATA_DIR/backups/<time>.tar")
    restoring = commands.add_parser("restore", help="bring a backup back")
    restoring.add_argument("file", type=Path, help="what make backup wrote (BACKUP=file)")
    restoring.add_argument("--force", action="store_true", help="replace what the database has (FORCE=yes)")
    verifying = commands.add_parser("verify", help="restore a backup aside and compare it with what was backed up")
    verifying.add_argument("file", type=Path, help="what make backup wrote (BACKUP=file)")
    prepare_terminal()
    asked = parser.parse_args(arguments)
    os.chdir(ROOT)
    services = load_local_services()
    keep_temporary_files_in(services.settings.data_dir)
    with named_errors():
        clear_leftovers(services.settings)
        if asked.command == "make":
            backup(services.settings, asked.file)
        elif asked.command == "verify":
            verify(services.settings, asked.file)
        else:
            restore(services, asked.file, force=asked.force)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
