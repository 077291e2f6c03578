"""Verifying a backup: it is restored into a Postgres of its own, aside, and compared with its manifest.

Neither the live database nor its login is used, so this works beside running services and with any `DATABASE_URL`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core import embedded_postgres, side_schemas
from core.data_layout import DataLayout
from core.database import Connection, connect, readable_errors
from core.errors import AlreadyRunning, DatabaseError
from core.file_locks import FileLock, exclusive_lock
from core.queries import load_query
from core.settings import Settings
from pipeline.raw_pages import make_private_folder
from services.backup_file import BackupError, Manifest, short, unpack
from services.postgres_tools import PostgresTools
from services.restore import build_beside
from services.table_contents import count_and_checksum, count_constraints

_SHOWN = 3


def verify(settings: Settings, path: Path) -> Manifest:
    """Restore a backup aside and compare all rows with its manifest. Nothing of it is left.

    Raises BackupError when it cannot be restored or is not as it was, AlreadyRunning, DatabaseError.
    """
    path = path.expanduser().resolve()
    with _scratch_folder(settings) as folder:
        work = folder / "backup"
        work.mkdir(mode=0o700)
        manifest = unpack(path, work)
        url = embedded_postgres.start(folder)
        with connect(url) as connection:
            try:
                build_beside(connection, PostgresTools(url, embedded_postgres.programs_folder()), work, manifest)
                side_schemas.swap_schemas(connection)
            except (BackupError, DatabaseError) as error:
                raise BackupError(f"{short(path)} cannot be restored: {error}") from error
            if differences := _differences(connection, manifest):
                more = f" and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
                raise BackupError(
                    f"{short(path)} is restored with other contents: {', '.join(differences[:_SHOWN])}{more};"
                    " take another backup, and keep the live database"
                )
    compared = (
        "rows, contents and constraints are as they were"
        if manifest.checksums
        else ("rows are as many as there were; an older version made it, which kept no checksums of contents")
    )
    print(f"verified {short(path)}, made at {manifest.made_at}: {manifest}; {compared}", flush=True)
    return manifest


def clear_leftovers(settings: Settings) -> None:
    """Delete what a verification left that was killed. One that is at work stays."""
    if DataLayout(settings.data_dir).verification.exists():
        with suppress(BlockingIOError), _lock(settings):
            embedded_postgres.discard(DataLayout(settings.data_dir).verification)


@readable_errors()
def _differences(connection: Connection, manifest: Manifest) -> list[str]:
    found = []
    for name, rows in manifest.tables.items():
        schema, table = name.split(".", 1)
        if manifest.checksums and count_and_checksum(connection, schema, table) != (rows, manifest.checksums.get(name)):
            found.append(f"{name} (other values)")
    constraints = count_constraints(connection)
    if manifest.constraints not in (None, constraints):
        found.append(f"{constraints} valid constraints instead of {manifest.constraints}")
    found += [
        f"index {name} is not valid"
        for (name,) in connection.execute(load_query("restore/tables.find_invalid_indexes"))
    ]
    return found


@contextmanager
def _scratch_folder(settings: Settings) -> Iterator[Path]:
    """A folder that is deleted in the end, with the server in it. One of an earlier verification is deleted first."""
    make_private_folder(DataLayout(settings.data_dir).backups)
    folder = DataLayout(settings.data_dir).verification
    try:
        lock = _lock(settings)
    except BlockingIOError:
        raise AlreadyRunning("another verification of a backup is at work; wait for it") from None
    with lock:
        embedded_postgres.discard(folder)
        folder.mkdir()
        try:
            yield folder
        finally:
            embedded_postgres.discard(folder)


def _lock(settings: Settings) -> FileLock:
    """Let one process at a time verify. Raises BlockingIOError."""
    return exclusive_lock(DataLayout(settings.data_dir).backups, wait_seconds=0)
