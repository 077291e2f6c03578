"""One file of what cannot be made again, and the way back. `make backup` and `make restore` call it.

A backup is a tar of `manifest.json`, `database.dump` (pg_dump, its custom format), `models/*` and, last, `SHA256SUMS`:
a file that was cut off has no sums. Left out is what a run makes again: `staging.*`, shaped parts, Data Docs; and the
raw pages, as every read of the source is the full list.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from core import embedded
from core.clock import clock_of
from core.database import (
    SQL_FOLDER,
    Connection,
    connect,
    database_url,
    readable_errors,
    statement,
    take_training_lock,
    take_warehouse_lock,
    warehouse_lock,
)
from core.errors import AlreadyRunning, DatabaseError, MoovitamixError, SettingsError, UsageError, named_errors
from core.roles import ROLES, refuse_code_of_others, told_of_others
from core.settings import Settings
from core.tracebacks import without_tracebacks
from pipeline import suppression
from pipeline.raw_pages import only_ours
from services.backup_contents import not_ours
from services.plan import ROOT, Plan, load_plan
from services.supervision import Supervisor

# All schemas of ours; of `staging` only the schema itself: its tables are between two steps of a run.
SCHEMAS = ("ops", "staging", "warehouse", "mart", "ml", "serving")
FOLDER = "backups"
_FORMAT = 1
_OUR_NAME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{6}Z\.tar")
_SINCE_ROLES = "0007"
_MANIFEST, _DUMP, _SUMS, _MODELS = "manifest.json", "database.dump", "SHA256SUMS", "models"
_LISTING = "listing"
_CHUNK = 1 << 20
# The last word before a restore ends: what no table of contents tells, such as a check that calls a function.
_NO_CODE = (
    sql.SQL(
        "do $check$ declare found text; begin select string_agg(name, ', ') into found from (\n{}\n) as others;"
        " if found is not null then raise exception using message = 'no migration made ' || found; end if; end $check$;"
    )
    .format(sql.SQL(statement("roles/code_of_others")))
    .as_string()
)
# What libpq would read from a URL and has no environment variable for.
_SECRETS = ("sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")


class BackupError(MoovitamixError):
    """A backup cannot be made, or not be restored; nothing was changed."""


@dataclass(frozen=True)
class Manifest:
    """What a backup holds. `tables` maps each table, such as `ml.alarms`, to its rows."""

    made_at: str
    schema_version: str
    server_version: int
    roles: list[str]
    tables: dict[str, int]
    models: list[str]
    format: int = _FORMAT

    def __str__(self) -> str:
        rows = sum(self.tables.values())
        counted = f"{len(self.tables)} tables with {rows:,} rows, {len(self.models)} model files"
        return f"{counted}, schema {self.schema_version}"


@dataclass(frozen=True)
class Programs:
    """Postgres's programs for one database. No password stands on a command line, nor in what they say."""

    url: str
    folder: Path | None  # of the wheel; None: those of the PATH

    def path(self, name: str, server_version: int) -> str:
        """Where a program is. Raises DatabaseError when it is missing, or older than the server."""
        found = shutil.which(name, path=None if self.folder is None else str(self.folder))
        needed = server_version // 10_000
        if found is None:
            raise DatabaseError(f"{name} is missing; install the programs of PostgreSQL {needed}, then try again")
        said = subprocess.run([found, "--version"], check=False, capture_output=True, text=True).stdout
        version = re.search(r"\(PostgreSQL\) (\d+)", said)
        if version is None or int(version[1]) < needed:
            has = f"of PostgreSQL {version[1]}" if version else "of an unknown version"
            raise DatabaseError(
                f"{name} is {has} and the server {needed}; put that version on the PATH, then try again"
            )
        return found

    @property
    def target(self) -> str:
        """The database, without the password. Raises SettingsError for a secret that has no other place."""
        parts = {name: str(value) for name, value in conninfo_to_dict(self.url).items() if value is not None}
        if given := [name for name in _SECRETS if parts.get(name)]:
            raise SettingsError(f"wrong setting: DATABASE_URL must not carry {given[0]} for this; use a service file")
        parts.pop("password", None)
        return make_conninfo(**parts)

    @property
    def environment(self) -> dict[str, str]:
        password = self._password
        return os.environ | ({"PGPASSWORD": password} if password else {})

    @property
    def _password(self) -> str:
        return str(conninfo_to_dict(self.url).get("password") or "")

    def run(self, *command: str) -> None:
        """Run one to its end. Raises DatabaseError with the line it ended on."""
        with tempfile.TemporaryFile() as said:
            done = subprocess.run(
                command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
                env=self.environment,
            )  # fmt: skip
            if done.returncode:
                raise DatabaseError(self.complaint(Path(command[0]).name, said))

    def complaint(self, name: str, said: IO[bytes]) -> str:
        """One line of what a program wrote: the first error, without the rows it may quote further down."""
        said.seek(0)
        lines = said.read().decode(errors="replace").splitlines()
        errors = [line for line in lines if "error:" in line.lower() or "fatal:" in line.lower()]
        first = (errors or lines or ["no word"])[0].strip()
        return f"{name} failed: {first.replace(self._password, '***') if self._password else first}"


def backup(settings: Settings, wanted: Path | None = None) -> Path:
    """Write one file and return its path. It bears its name only when it is whole. Readable by its owner only.

    Raises BackupError, AlreadyRunning, DatabaseError.
    """
    now = clock_of(settings)().astimezone(UTC)
    target = (wanted or settings.data_dir / FOLDER / f"{now:%Y-%m-%dT%H%M%SZ}.tar").expanduser().resolve()
    if target.exists():
        raise UsageError(f"{target} is there already; name another file, or move it away")
    url = database_url(settings)
    programs = _programs(settings, url)
    with _work_folder(target.parent) as work, connect(url) as connection, _nobody_writes(connection, settings):
        version = connection.info.server_version
        pg_dump = programs.path("pg_dump", version)
        with readable_errors(), connection.transaction():
            connection.execute("set transaction isolation level repeatable read, read only")
            _refuse_an_empty_database(connection)
            refuse_code_of_others(connection)  # a restore would make it the owner's
            manifest = _manifest(connection, now, _model_files(settings))
            (snapshot,) = connection.execute("select pg_export_snapshot()").fetchone() or ("",)
            wanted_schemas = [f"--schema={name}" for name in SCHEMAS]
            programs.run(
                pg_dump, "--format=custom", "--no-password", f"--snapshot={snapshot}", *wanted_schemas,
                "--exclude-table=staging.*", f"--file={work / _DUMP}", f"--dbname={programs.target}",
            )  # fmt: skip
        _pack(work / "backup.tar", work / _DUMP, manifest, settings)
        (work / "backup.tar").rename(target)
    print(f"backed up {manifest}: {_short(target)} ({target.stat().st_size / 1e6:,.1f} MB)", flush=True)
    pruned = _prune(settings)
    if pruned:
        print(f"deleted {pruned} older backup(s); {settings.backups_kept} are kept (BACKUPS_KEPT)", flush=True)
    return target


def _prune(settings: Settings) -> int:
    """Delete the oldest of what we named ourselves in our own folder. Returns how many went."""
    folder = settings.data_dir / FOLDER
    ours = sorted(path for path in folder.glob("*.tar") if _OUR_NAME.fullmatch(path.name) and path.is_file())
    old = ours[: -settings.backups_kept] if settings.backups_kept else []
    for path in old:
        path.unlink()
    return len(old)


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
    tables = {f"{schema}.{table}": _count(connection, schema, table) for schema, table in names}
    return Manifest(
        made_at=now.isoformat(timespec="seconds"),
        schema_version=schema_version,
        server_version=connection.info.server_version,
        roles=_roles_with_rights(connection),
        tables=tables,
        models=[path.name for path in models],
    )


def _refuse_an_empty_database(connection: Connection) -> None:
    if _missing_schemas(connection) or not _has_version(connection):
        raise BackupError("there is nothing to back up: the database has no tables of ours yet")


def _count(connection: Connection, schema: str, table: str) -> int:
    counted = connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(schema, table))).fetchone()
    return int(counted[0]) if counted else 0


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


def _model_files(settings: Settings) -> list[Path]:
    folder = settings.data_dir / _MODELS
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _pack(path: Path, dump: Path, manifest: Manifest, settings: Settings) -> None:
    """Write the tar, the sums last, and see it on the disk."""
    listed = dump.with_name(_MANIFEST)
    listed.write_text(json.dumps(asdict(manifest), indent=1))
    members = {_MANIFEST: listed, _DUMP: dump}
    members |= {f"{_MODELS}/{name}": settings.data_dir / _MODELS / name for name in manifest.models}
    sums = dump.with_name(_SUMS)
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
        for name, source in members.items():
            tar.add(source, name, recursive=False)
            with sums.open("a") as lines, source.open("rb") as content:
                lines.write(f"{hashlib.file_digest(content, 'sha256').hexdigest()}  {name}\n")
        tar.add(sums, _SUMS)
        tar.close()
        file.flush()
        os.fsync(file.fileno())


def restore(plan: Plan, path: Path, *, force: bool = False) -> Manifest:
    """Bring database and model files back from a backup. The database changes in one transaction, or not at all.

    With `force`, what the database has of ours is dropped in that transaction. Raises BackupError, AlreadyRunning,
    DatabaseError.
    """
    settings = plan.settings
    path = path.expanduser().resolve()
    with _work_folder(settings.data_dir / FOLDER) as work:
        manifest = _unpack(path, work)
        _refuse_services(plan)
        url = database_url(settings)
        programs = _programs(settings, url)
        with connect(url) as connection:
            _refuse_a_database_in_use(connection, force=force)
            version = connection.info.server_version
            pg_restore, psql = (programs.path(name, version) for name in ("pg_restore", "psql"))
            programs.run(pg_restore, "--list", f"--file={work / _LISTING}", str(work / _DUMP))  # of a format it reads
            if others := not_ours((work / _LISTING).read_text()):
                raise BackupError(f"nothing was changed: in the backup, {told_of_others(others)}")
            made = _make_roles(connection, manifest.roles)
            after = _hand_over(manifest) + _NO_CODE + _check(manifest)
            _replay(programs, (pg_restore, psql), work / _DUMP, _drop(force), after)
            with readable_errors():
                connection.execute("analyze")
        _place_models(work / _MODELS, settings.data_dir / _MODELS)
    _tell(path, manifest, made)
    _erase_again(settings)
    return manifest


def _erase_again(settings: Settings) -> None:
    """Who was erased after the backup was made is in it: the list beside the backups knows. Raises BackupError."""
    if not suppression.read_copy(settings.data_dir):
        return
    again = [sys.executable, "-m", "flows.erase", "--again"]
    if subprocess.run(again, check=False, stdin=subprocess.DEVNULL, cwd=ROOT).returncode:
        raise BackupError(
            "restored, but listeners who were erased since are back: run python -m flows.erase --again before all else"
        )


def _unpack(path: Path, work: Path) -> Manifest:
    """Take the file apart, every byte of it held against the sums. Raises BackupError."""
    damaged = BackupError(f"{path} is damaged or cut off; nothing was changed, take another backup")
    try:
        digests = _extract(path, work)
        lines = (work / _SUMS).read_text().splitlines()
        sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        digests.pop(_SUMS)
        if sums != digests or not {_MANIFEST, _DUMP} <= digests.keys():
            raise damaged
        content: dict[str, Any] = json.loads((work / _MANIFEST).read_text())
    except FileNotFoundError as error:
        if path.exists():
            raise damaged from error
        raise UsageError(f"{path} is not there; BACKUP must name a file that make backup wrote") from error
    except (tarfile.TarError, EOFError, ValueError, KeyError) as error:
        raise damaged from error
    if content.get("format") != _FORMAT:
        raise BackupError(
            f"{path} is of another format ({content.get('format')}); restore it with the version it is of"
        )
    manifest = Manifest(**content)
    if manifest.schema_version not in _known_versions():
        raise BackupError(
            f"{path} has schema {manifest.schema_version}, which this version does not know; upgrade first"
        )
    return manifest


def _extract(path: Path, work: Path) -> dict[str, str]:
    """Every member's digest; only names that a backup has are written, and only below `work`. Raises ValueError."""
    (work / _MODELS).mkdir()
    digests: dict[str, str] = {}
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            folder, _, name = member.name.rpartition("/")
            ours = member.name in (_MANIFEST, _DUMP, _SUMS) or (folder == _MODELS and name not in ("", ".", ".."))
            source = tar.extractfile(member) if ours and member.isreg() else None
            if source is None:
                raise ValueError(member.name)
            with source, (work / member.name).open("w+b") as copy:
                shutil.copyfileobj(source, copy, _CHUNK)
                copy.seek(0)
                digests[member.name] = hashlib.file_digest(copy, "sha256").hexdigest()
    return digests


def _refuse_services(plan: Plan) -> None:
    """Raises BackupError while something of this DATA_DIR runs."""
    supervisor = Supervisor(plan)
    if supervisor.states() or supervisor.leftovers():
        raise BackupError("services run; first stop them: make down")
    if plan.settings.embedded:
        embedded.stop_if_unused(plan.settings.data_dir)
        if embedded.in_use(plan.settings.data_dir):
            raise BackupError(f"a run or another program uses the database in {plan.settings.data_dir}; wait for it")


@readable_errors()
def _refuse_a_database_in_use(connection: Connection, *, force: bool) -> None:
    """Raises BackupError or AlreadyRunning when somebody is connected, or something of ours is there."""
    take_warehouse_lock(connection, 0)
    take_training_lock(connection, 0)
    others = connection.execute(
        "select coalesce(nullif(application_name, ''), 'unnamed') from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid() and usename is not null order by 1"
    ).fetchall()
    if others:
        raise BackupError(
            f"the database is in use by {len(others)} connection(s), such as {others[0][0]}; end them first"
        )
    if not force and len(_missing_schemas(connection)) < len(SCHEMAS):
        raise BackupError("the database is not empty; to replace all that is in it, add FORCE=yes")


def _missing_schemas(connection: Connection) -> set[str]:
    rows = connection.execute("select nspname::text from pg_namespace").fetchall()
    return set(SCHEMAS) - {name for (name,) in rows}


def _has_version(connection: Connection) -> bool:
    (there,) = connection.execute("select to_regclass('ops.schema_version') is not null").fetchone() or (False,)
    return bool(there)


def _make_roles(connection: Connection, names: Sequence[str]) -> list[str]:
    """Make those that the server lacks, without a login, and return them. Raises DatabaseError."""
    lacking = "select name from unnest(%s::text[]) as name where not exists (select from pg_roles where rolname = name)"
    with readable_errors():
        made = [name for (name,) in connection.execute(lacking, [[*names, *(set(ROLES) - set(names))]])]
        connection.execute(statement("roles/make"))  # says what to run where we may not
        for name in set(made) - set(ROLES):
            role = sql.Identifier(name)
            connection.execute(sql.SQL("create role {} nologin").format(role))
            connection.execute(sql.SQL("grant {} to current_user").format(role))
    return made


def _hand_over(manifest: Manifest) -> str:
    """Who restores owns everything; these tables belong to roles, since there are roles."""
    return statement("roles/hand_over") if manifest.schema_version >= _SINCE_ROLES else ""


def _drop(force: bool) -> str:
    return f"drop schema if exists {', '.join(SCHEMAS)} cascade;" if force else ""


def _check(manifest: Manifest) -> str:
    """A statement that fails, and so undoes the restore, unless all rows are there."""
    test = sql.SQL("if (select {} from {}) is distinct from {} then raise exception using message = {}; end if;")
    version = sql.Identifier("ops", "schema_version")
    expected: list[tuple[str, sql.Identifier, Any]] = [("max(version_num)", version, manifest.schema_version)]
    expected += [("count(*)", sql.Identifier(*name.split(".", 1)), rows) for name, rows in manifest.tables.items()]
    tests = [
        test.format(sql.SQL(what), table, sql.Literal(value), sql.Literal(f"{table.as_string()} is not whole"))
        for what, table, value in expected
    ]
    return sql.SQL("do {};").format(sql.Literal(f"begin {sql.SQL(' ').join(tests).as_string()} end")).as_string()


def _replay(programs: Programs, paths: tuple[str, str], dump: Path, before: str, after: str) -> None:
    """Restore the dump in one transaction, between two statements. Raises DatabaseError; then nothing has changed."""
    pg_restore, psql = paths
    ask = [psql, "-X", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1", f"--dbname={programs.target}"]
    with (
        tempfile.TemporaryFile() as read_said,
        tempfile.TemporaryFile() as written_said,
        subprocess.Popen(
            ask, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=written_said, env=programs.environment
        ) as writer,
        subprocess.Popen(
            [pg_restore, "--no-owner", "--file=-", str(dump)], stdout=subprocess.PIPE, stderr=read_said
        ) as reader,
    ):
        statements, script = cast(IO[bytes], reader.stdout), cast(IO[bytes], writer.stdin)  # both are pipes
        with suppress(BrokenPipeError), script, statements:
            script.write(f"begin; set local lock_timeout = '10s'; {before}\n".encode())
            shutil.copyfileobj(statements, script, _CHUNK)
            # Without the last line, the end of the script undoes all before it.
            if reader.wait() == 0:
                script.write(f"\n{after}\ncommit;\n".encode())
        if writer.wait():
            raise DatabaseError(f"{programs.complaint('psql', written_said)}; the database is as it was")
        if reader.wait():
            raise DatabaseError(f"{programs.complaint('pg_restore', read_said)}; the database is as it was")


def _place_models(restored: Path, folder: Path) -> None:
    """Each file whole, in place of one of its name; others stay, and the next publication prunes what nobody needs."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in restored.iterdir():
        path.replace(folder / path.name)


def _tell(path: Path, manifest: Manifest, made: Sequence[str]) -> None:
    print(f"restored {_short(path)}, made at {manifest.made_at}: {manifest}, all counted again")
    if made:
        print(f"roles that were missing are made, without a login: {', '.join(made)}")
    if manifest.schema_version != max(_known_versions()):
        print("the schema is older than this version; the next run brings it up to date")
    print("raw pages are not in a backup: run the ingest next, it reads the full lists", flush=True)


def _known_versions() -> set[str]:
    return {path.name.partition("_")[0] for path in (SQL_FOLDER / "migrations" / "versions").glob("[0-9]*_*.py")}


def _programs(settings: Settings, url: str) -> Programs:
    return Programs(url, embedded.programs() if settings.embedded else None)


@contextmanager
def _work_folder(parent: Path) -> Iterator[Path]:
    """A folder beside the target, closed to others, gone afterwards."""
    only_ours(parent)
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=parent) as folder:
        yield Path(folder)


def _short(path: Path) -> Path:
    with suppress(ValueError):
        return path.relative_to(Path.cwd())
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked; an error with a name is one line. Exit 0, 1 or, for wrong usage or settings, 2."""
    parser = argparse.ArgumentParser(prog="python -m services.backup", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="write a backup")
    making.add_argument("file", type=Path, nargs="?", help="default: DATA_DIR/backups/<time>.tar")
    restoring = commands.add_parser("restore", help="bring a backup back")
    restoring.add_argument("file", type=Path, help="what make backup wrote (BACKUP=file)")
    restoring.add_argument("--force", action="store_true", help="replace what the database has (FORCE=yes)")
    asked = parser.parse_args(arguments)
    os.chdir(ROOT)
    try:
        plan = load_plan()
        with named_errors():
            if asked.command == "make":
                backup(plan.settings, asked.file)
            else:
                restore(plan, asked.file, force=asked.force)
    except MoovitamixError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, SettingsError) else 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(without_tracebacks(main))
