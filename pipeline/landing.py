"""Landing: the raw pages of one batch, stored as they were sent.

`DATA_DIR/landing/<endpoint>/<batch id>/` holds files `pages-<first>-<last>.jsonl.zst`, with one page per line. When the
snapshot is complete, `manifest.json` is added. After that, the folder does not change.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from core.atomic_files import delete_unfinished_files, write_atomically
from core.data_layout import DataLayout
from core.errors import AlreadyRunning, DiskFull, LandingError, is_disk_full
from core.file_locks import FileLock, exclusive_lock
from core.settings import Settings
from pipeline.batches import Batch
from pipeline.client import ApiClient
from pipeline.extraction import CompleteSnapshot, Progress, SnapshotReader
from pipeline.raw_pages import make_private_folder, read_pages

_MANIFEST = "manifest.json"
_LOCK = "lock"


@dataclass(frozen=True)
class Landing:
    """The raw pages of one batch. `total` is the number that the API reported, `rows` the number that it sent.

    Times are UTC.
    """

    folder: Path
    source: str
    total: int
    rows: int
    pages: int
    size: int
    started_at: datetime
    read_at: datetime

    def chunks(self) -> Iterator[tuple[int, list[bytes]]]:
        """Consecutive pages, file by file: the number of the first page, and the bodies. Raises LandingError."""
        for path in sorted(self.folder.glob("pages-*.jsonl.zst")):
            yield int(path.name.split("-")[1]), read_pages(path)


def landing_folder(data_dir: Path, batch: Batch) -> Path:
    """The folder of the raw pages of a batch."""
    return DataLayout(data_dir).landing / batch.endpoint / batch.batch_id


def find_landing(data_dir: Path, batch: Batch) -> Landing | None:
    """The landing of a batch, or None if there is no complete snapshot from the batch's source."""
    folder = landing_folder(data_dir, batch)
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        for name in ("started_at", "read_at"):
            manifest[name] = datetime.fromisoformat(manifest[name])
        landing = Landing(folder=folder, **manifest)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return landing if landing.source == batch.source else None


def unclaimed_revision(data_dir: Path, batch: Batch) -> Batch:
    """The batch, or its next revision whose folder does not hold a complete snapshot of another source."""
    while (landing_folder(data_dir, batch) / _MANIFEST).exists() and find_landing(data_dir, batch) is None:
        batch = replace(batch, revision=batch.revision + 1)
    return batch


def land_snapshot(
    client: ApiClient, batch: Batch, settings: Settings, *, clock: Callable[[], datetime], progress: Progress
) -> Landing:
    """Extract the whole snapshot and store its pages. A second call continues after the stored pages.

    Raises SourceError if the API cannot be read, SnapshotChanged if the snapshot keeps changing, and LandingError if
    the pages cannot be written.
    """
    folder = landing_folder(settings.data_dir, batch)
    try:
        make_private_folder(DataLayout(settings.data_dir).landing)
        folder.mkdir(parents=True, exist_ok=True)
        with lock_folder(folder, settings.lock_wait_seconds):
            delete_unfinished_files(folder)
            existing = find_landing(settings.data_dir, batch)
            if existing is not None:
                return existing
            (folder / _MANIFEST).unlink(missing_ok=True)  # of another source, whose pages are deleted next
            snapshot = SnapshotReader(client, batch, settings, folder, clock, progress).read()
            return _finish(batch, folder, snapshot, clock())
    except OSError as error:
        error_type = DiskFull if is_disk_full(error) else LandingError
        raise error_type(
            f"raw pages cannot be written to {folder}: {error.strerror or error}; earlier pages are kept, run again"
        ) from error


def _finish(batch: Batch, folder: Path, snapshot: CompleteSnapshot, read_at: datetime) -> Landing:
    """Write the manifest, which marks the folder as complete."""
    landing = Landing(folder=folder, source=batch.source, read_at=read_at, **vars(snapshot))
    manifest = {name: getattr(landing, name) for name in ("source", "total", "rows", "pages", "size")}
    manifest |= {"started_at": landing.started_at.isoformat(), "read_at": landing.read_at.isoformat()}
    write_atomically(folder / _MANIFEST, json.dumps(manifest, indent=1), durable=True)
    return landing


def lock_folder(folder: Path, wait_seconds: float) -> FileLock:
    """Keep other processes out of the folder, also when there is no database to hold the warehouse lock.

    Raises AlreadyRunning when another process still holds the lock after `wait_seconds`.
    """
    try:
        return exclusive_lock(folder / _LOCK, wait_seconds)
    except BlockingIOError:
        raise AlreadyRunning(f"another run is writing to {folder}; wait for it, or raise LOCK_WAIT_SECONDS") from None


def delete_folder(folder: Path) -> None:
    """Delete a landing. The manifest is deleted first, so that an interrupted deletion leaves no complete landing."""
    (folder / _MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder)


def delete_landing(data_dir: Path, batch: Batch) -> bool:
    """Delete the raw pages of a batch. Returns whether the folder existed."""
    folder = landing_folder(data_dir, batch)
    if not folder.exists():
        return False
    delete_folder(folder)
    return True
