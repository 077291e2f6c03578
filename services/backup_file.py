"""The file of a backup: a tar of `manifest.json`, `database.dump` (pg_dump, its custom format), `models/*` and, last,
`SHA256SUMS`: a file that was cut off has no sums.
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
from core.data_layout import DataLayout
from core.errors import MoovitamixError, UsageError
from core.queries import SQL_FOLDER
from core.settings import Settings
from pipeline.raw_pages import make_private_folder

MANIFEST, DUMP, SUMS, MODELS = "manifest.json", "database.dump", "SHA256SUMS", "models"
# Since 2 a manifest has what verifying needs; restoring reads both.
_FORMAT, _FORMATS = 2, (1, 2)
NAME = "%Y-%m-%dT%H%M%SZ.tar"
_OUR_NAME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{6}Z\.tar")
_CHUNK = 1 << 20


class BackupError(MoovitamixError):
    """A backup cannot be made, verified or restored."""


@dataclass(frozen=True)
class Manifest:
    """What a backup holds. `tables` maps each table, such as `ml.alarms`, to its number of rows.

    `checksums` maps it to a checksum of its rows. `constraints` counts the keys and checks that hold for all rows. A
    backup of format 1 has neither.
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
        counted = f"{len(self.tables)} tables with {rows:,} rows, {len(self.models)} model files"
        return f"{counted}, schema {self.schema_version}"


def model_files(settings: Settings) -> list[Path]:
    """The files of trained models, by name."""
    folder = DataLayout(settings.data_dir).models
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def pack(path: Path, dump: Path, manifest: Manifest, settings: Settings) -> None:
    """Write the tar whole or not at all, the sums last, readable by its owner only."""
    listed = dump.with_name(MANIFEST)
    listed.write_text(json.dumps(asdict(manifest), indent=1))
    members = {MANIFEST: listed, DUMP: dump}
    members |= {f"{MODELS}/{name}": DataLayout(settings.data_dir).models / name for name in manifest.models}
    sums = dump.with_name(SUMS)
    with atomic_writer(path, mode=0o600, durable=True) as file, tarfile.open(fileobj=file, mode="w") as tar:
        for name, source in members.items():
            tar.add(source, name, recursive=False)
            with sums.open("a") as lines, source.open("rb") as content:
                lines.write(f"{hashlib.file_digest(content, 'sha256').hexdigest()}  {name}\n")
        tar.add(sums, SUMS)


def unpack(path: Path, work: Path) -> Manifest:
    """Take the file apart, every byte of it held against the sums. Raises BackupError."""
    damaged = BackupError(f"{path} is damaged or cut off; nothing was changed, take another backup")
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
        raise UsageError(f"{path} is not there; BACKUP must name a file that make backup wrote") from error
    except (tarfile.TarError, EOFError, ValueError, KeyError) as error:
        raise damaged from error
    if content.get("format") not in _FORMATS:
        raise BackupError(
            f"{path} is of another format ({content.get('format')}); restore it with the version it is of"
        )
    manifest = Manifest(**content)
    if manifest.schema_version not in known_versions():
        raise BackupError(
            f"{path} has schema {manifest.schema_version}, which this version does not know; upgrade first"
        )
    return manifest


def _extract(path: Path, work: Path) -> dict[str, str]:
    """Every member's digest; only names that a backup has are written, and only below `work`. Raises ValueError."""
    (work / MODELS).mkdir()
    digests: dict[str, str] = {}
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            folder, _, name = member.name.rpartition("/")
            ours = member.name in (MANIFEST, DUMP, SUMS) or (folder == MODELS and name not in ("", ".", ".."))
            source = tar.extractfile(member) if ours and member.isreg() else None
            if source is None:
                raise ValueError(member.name)
            with source, (work / member.name).open("w+b") as copy:
                shutil.copyfileobj(source, copy, _CHUNK)
                copy.seek(0)
                digests[member.name] = hashlib.file_digest(copy, "sha256").hexdigest()
    return digests


def prune(settings: Settings, newest: Path, now: datetime) -> int:
    """Delete the oldest of what we named ourselves in our own folder, except `newest`. Returns how many went.

    One that is named after now was written while the clock was ahead. Nobody knows how old it is, so it stays, and does
    not count.
    """
    folder, latest = DataLayout(settings.data_dir).backups, f"{now + CLOCK_SKEW:{NAME}}"
    named = sorted(path for path in folder.glob("*.tar") if _OUR_NAME.fullmatch(path.name) and path.is_file())
    ours = [path for path in named if path.name <= latest]
    old = [path for path in ours[: -settings.backups_kept] if path.resolve() != newest] if settings.backups_kept else []
    for path in old:
        path.unlink()
    return len(old)


def known_versions() -> set[str]:
    """The versions of the schema that this code has migrations to."""
    return {path.name.partition("_")[0] for path in (SQL_FOLDER / "migrations" / "versions").glob("[0-9]*_*.py")}


@contextmanager
def work_folder(parent: Path) -> Iterator[Path]:
    """A folder beside the target, closed to others, gone afterwards."""
    make_private_folder(parent)
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=parent) as folder:
        yield Path(folder)


def short(path: Path) -> Path:
    """The path from here, where it is below."""
    with suppress(ValueError):
        return path.relative_to(Path.cwd())
    return path
