"""Verifies a backup: restores it into a temporary Postgres server, and compares the result with the manifest.

It does not use the live database, so it works beside running services and with any `DATABASE_URL`.
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
from services.backup_file import BackupError, Manifest, local_backup, shown_location, unpack
from services.postgres_tools import PostgresTools
from services.restore import build_beside
from services.table_contents import count_and_checksum, count_constraints

_DIFFERENCES_SHOWN = 3


def verify(settings: Settings, file: str) -> Manifest:
    """Restore a backup into a temporary server, compare all rows with the manifest, and delete the server.

    `file` is a path, or a URL below BACKUPS_URL. Raises BackupError if it cannot be restored or differs,
    AlreadyRunning, DatabaseError, ObjectStoreError.
    """
    location = shown_location(file)
    with _scratch_folder(settings) as folder:
        work = folder / "backup"
        work.mkdir(mode=0o700)
        with local_backup(settings, file) as path:
            manifest = unpack(path, work, location)
        url = embedded_postgres.start(folder)
        with connect(url) as connection:
            try:
                build_beside(connection, PostgresTools(url, embedded_postgres.programs_folder()), work, manifest)
                side_schemas.swap_schemas(connection)
            except (BackupError, DatabaseError) as error:
                raise BackupError(f"{location} cannot be restored: {error}") from error
            if differences := _differences(connection, manifest):
                hidden = len(differences) - _DIFFERENCES_SHOWN
                shown = ", ".join(differences[:_DIFFERENCES_SHOWN]) + (f" and {hidden} more" if hidden > 0 else "")
                raise BackupError(
                    f"{location} is restored with other contents: {shown}; "
                    "use another backup, and keep the live database"
                )
    compared = (
        "rows, contents and constraints are equal"
        if manifest.checksums
        else "row counts are equal; an older version wrote it, without checksums of contents"
    )
    print(f"verified {location}, written at {manifest.made_at}: {manifest}; {compared}", flush=True)
    return manifest


def clear_leftovers(settings: Settings) -> None:
    """Delete the folder of a killed verification, unless another verification runs."""
    if DataLayout(settings.data_dir).verification.exists():
        with suppress(BlockingIOError), _lock(settings):
            embedded_postgres.discard(DataLayout(settings.data_dir).verification)


@readable_errors()
def _differences(connection: Connection, manifest: Manifest) -> list[str]:
    differences = []
    for name, rows in manifest.tables.items():
        schema, table = name.split(".", 1)
        if manifest.checksums and count_and_checksum(connection, schema, table) != (rows, manifest.checksums.get(name)):
            differences.append(f"{name} (other values)")
    constraints = count_constraints(connection)
    if manifest.constraints not in (None, constraints):
        differences.append(f"{constraints} valid constraints instead of {manifest.constraints}")
    differences += [
        f"index {name} is not valid"
        for (name,) in connection.execute(load_query("restore/tables.find_invalid_indexes"))
    ]
    return differences


@contextmanager
def _scratch_folder(settings: Settings) -> Iterator[Path]:
    """Create a folder for the server, and delete both at the end. Deletes the folder of a killed verification first."""
    make_private_folder(DataLayout(settings.data_dir).backups)
    folder = DataLayout(settings.data_dir).verification
    try:
        lock = _lock(settings)
    except BlockingIOError:
        raise AlreadyRunning("another verification of a backup runs; wait for it") from None
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
