"""The file of a backup: a tar of `manifest.json`, `database.dump` (custom format of pg_dump), `models/*` and
`SHA256SUMS`. The checksums come last, so that a truncated file has none.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from core.atomic_files import atomic_writer
from core.clock import CLOCK_SKEW
from core.errors import MoovitamixError, UsageError
from core.queries import SQL_FOLDER
from core.settings import Settings
from core.stores import backup_store, model_store
from pipeline.raw_pages import make_private_folder

MANIFEST, DUMP, SUMS, MODELS = "manifest.json", "database.dump", "SHA256SUMS", "models"
# Format 2 added checksums and constraints, which a verification needs. A restore reads both formats.
_FORMAT, _FORMATS = 2, (1, 2)
NAME = "%Y-%m-%dT%H%M%SZ.tar"
_GENERATED_NAME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{6}Z\.tar")
_CHUNK = 1 << 20


class BackupError(MoovitamixError):
    """A backup cannot be written, verified or restored."""


@dataclass(frozen=True)
class Manifest:
    """The content of a backup.

    `tables` maps each table, such as `ml.alarms`, to its number of rows, `checksums` to a checksum of its rows.
    `constraints` is the number of validated keys and checks. A backup of format 1 has no checksums and constraints.
    """

    made_at: str
    schema_version: str
    server_version: int
    roles: list[str]
    tables: dict[str, int]
    models: list[str]
    checksums: dict[str, str] = field(default_factory=dict)
    constraints: int | None = None
    format: int = _FORMAT

    def __str__(self) -> str:
        rows = sum(self.tables.values())
        return (
            f"{len(self.tables)} tables with {rows:,} rows, {len(self.models)} model files, "
            f"schema {self.schema_version}"
        )


def model_files(settings: Settings) -> list[str]:
    """Return the names of the files of trained models, sorted. Raises ObjectStoreError."""
    return [file.name for file in model_store(settings).files() if "/" not in file.name]


def pack(path: Path, dump: Path, manifest: Manifest, settings: Settings) -> None:
    """Write the tar, checksums last, and flush it to the disk. Raises ObjectStoreError."""
    manifest_file = dump.with_name(MANIFEST)
    manifest_file.write_text(json.dumps(asdict(manifest), indent=1))
    sums, models = dump.with_name(SUMS), model_store(settings)
    with atomic_writer(path, mode=0o600, durable=True) as file, tarfile.open(fileobj=file, mode="w") as tar:

        def add(name: str, source: Path) -> None:
            tar.add(source, name, recursive=False)
            with sums.open("a") as lines, source.open("rb") as content:
                lines.write(f"{hashlib.file_digest(content, 'sha256').hexdigest()}  {name}\n")

        add(MANIFEST, manifest_file)
        add(DUMP, dump)
        for name in manifest.models:
            with models.local_copy(name) as source:
                add(f"{MODELS}/{name}", source)
        tar.add(sums, SUMS)


def unpack(path: Path, work: Path, location: str) -> Manifest:
    """Extract the file into `work`, and compare every member with its checksum. `location` is for messages.

    Raises BackupError, UsageError.
    """
    damaged = BackupError(f"{location} is damaged or truncated; nothing was changed, use another backup")
    try:
        digests = _extract(path, work)
        lines = (work / SUMS).read_text().splitlines()
        sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        digests.pop(SUMS)
        if sums != digests or not {MANIFEST, DUMP} <= digests.keys():
            raise damaged
        content: dict[str, Any] = json.loads((work / MANIFEST).read_text())
    except FileNotFoundError as error:
        if path.exists():
            raise damaged from error
        raise UsageError(f"{location} does not exist; BACKUP must name a file that make backup wrote") from error
    except (tarfile.TarError, EOFError, ValueError, KeyError) as error:
        raise damaged from error
    if content.get("format") not in _FORMATS:
        raise BackupError(
            f"{location} has another format ({content.get('format')}); restore it with the version that wrote it"
        )
    manifest = Manifest(**content)
    if manifest.schema_version not in schema_versions():
        raise BackupError(
            f"{location} has schema {manifest.schema_version}, which this version does not know; upgrade first"
        )
    return manifest


def _extract(path: Path, work: Path) -> dict[str, str]:
    """Extract every member into `work`, and return the digests by name. Raises ValueError for an unexpected member."""
    (work / MODELS).mkdir()
    digests: dict[str, str] = {}
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            folder, _, name = member.name.rpartition("/")
            is_expected = member.name in (MANIFEST, DUMP, SUMS) or (folder == MODELS and name not in ("", ".", ".."))
            source = tar.extractfile(member) if is_expected and member.isreg() else None
            if source is None:
                raise ValueError(member.name)
            with source, (work / member.name).open("w+b") as copy:
                shutil.copyfileobj(source, copy, _CHUNK)
                copy.seek(0)
                digests[member.name] = hashlib.file_digest(copy, "sha256").hexdigest()
    return digests


@contextmanager
def local_backup(settings: Settings, file: str) -> Iterator[Path]:
    """A backup as a file of this machine: its path, or its URL below BACKUPS_URL.

    Raises UsageError for another URL, or if an object store does not have the backup, ObjectStoreError.
    """
    if "://" not in file:
        yield Path(file).expanduser().resolve()
        return
    backups = backup_store(settings)
    name = file.removeprefix(f"{backups.location}/")
    if name == file:
        raise UsageError(f"{file} is not below {backups.location}; set BACKUPS_URL, or copy the file to this machine")
    try:
        with backups.local_copy(name) as path:
            yield path
    except FileNotFoundError as error:
        raise UsageError(f"{file} does not exist; BACKUP must name a file that make backup wrote") from error


def prune(settings: Settings, newest: str, now: datetime) -> int:
    """Delete the oldest backups with generated names in the store of backups, except `newest`. Return their number.

    A name after now comes from a clock that was ahead. The age of that backup is unknown, so it stays and does not
    count.
    """
    store, latest = backup_store(settings), f"{now + CLOCK_SKEW:{NAME}}"
    names = [file.name for file in store.files() if _GENERATED_NAME.fullmatch(file.name) and file.name <= latest]
    excess = names[: -settings.backups_kept] if settings.backups_kept else []
    old = [name for name in excess if store.location_of(name) != newest]
    for name in old:
        store.delete(name)
    return len(old)


def schema_versions() -> set[str]:
    """Return the schema versions that this code has migrations for."""
    return {path.name.partition("_")[0] for path in (SQL_FOLDER / "migrations" / "versions").glob("[0-9]*_*.py")}


@contextmanager
def work_folder(parent: Path) -> Iterator[Path]:
    """Create a private temporary folder in `parent`, on the disk of the target."""
    make_private_folder(parent)
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=parent) as folder:
        yield Path(folder)


def shown_location(file: str) -> str:
    """A URL, or a path relative to the current folder, if it is inside."""
    return file if "://" in file else str(display_path(Path(file).expanduser().resolve()))


def display_path(path: Path) -> Path:
    """Return the path relative to the current folder, if it is inside."""
    with suppress(ValueError):
        return path.relative_to(Path.cwd())
    return path
