"""Landing: the raw pages of one batch, stored as they were sent.

The folder `<endpoint>/<batch id>/` of the landing store has files `pages-<first>-<last>-<writer>.jsonl.zst`, with one
page per line. When the snapshot is complete, `manifest.json` is added, which names its files. Other files do not count,
so an incomplete snapshot is never used.

Runs that have the database hold the warehouse lock. Runs without it need no lock: no writer replaces the file of
another writer, and each manifest names the files of one complete snapshot.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from compute.blocks import BlockRunner
from core.clock import utc_now
from core.errors import DiskFull, LandingError, is_disk_full
from core.file_store import FileStore
from core.settings import Settings
from core.stores import landing_store
from pipeline.batches import Batch
from pipeline.client import ApiClient
from pipeline.extraction import (
    MANIFEST,
    RESUME_WITHIN,
    CompleteSnapshot,
    Progress,
    SnapshotReader,
    page_files,
    parse_page_file,
)
from pipeline.raw_pages import read_pages


@dataclass(frozen=True)
class Landing:
    """The raw pages of one batch. `total` is the number that the API reported, `rows` the number that it sent.

    `files` are names in the store; None in a landing of an earlier version, to which all files of its folder belong.
    Times are UTC.
    """

    store: FileStore
    folder: str
    source: str
    total: int
    rows: int
    pages: int
    size: int
    started_at: datetime
    read_at: datetime
    files: tuple[str, ...] | None = None

    @property
    def location(self) -> str:
        """The folder or URL, for messages."""
        return self.store.location_of(self.folder)

    def chunks(self) -> Iterator[tuple[int, list[bytes]]]:
        """Consecutive pages, file by file: the number of the first page, and the bodies. Raises LandingError."""
        files = page_files(self.store, self.folder) if self.files is None else self.files
        for name in files:
            yield parse_page_file(name)[0], read_pages(self.store, name)

    def numbered_pages(self, numbers: Iterable[int] | None = None) -> Iterator[tuple[int, bytes]]:
        """The pages with these numbers in order (None: all): number and body. Other files are not read.

        Raises LandingError.
        """
        files = page_files(self.store, self.folder) if self.files is None else self.files
        chosen = None if numbers is None else frozenset(numbers)
        for name in files:
            first, last = parse_page_file(name)
            if chosen is None or not chosen.isdisjoint(range(first, last + 1)):
                for number, body in enumerate(read_pages(self.store, name), first):
                    if chosen is None or number in chosen:
                        yield number, body


def landing_folder(batch: Batch) -> str:
    """The folder of the raw pages of a batch in the landing store."""
    return f"{batch.endpoint}/{batch.batch_id}"


def find_landing(settings: Settings, batch: Batch) -> Landing | None:
    """The landing of a batch, or None if there is no complete snapshot from the batch's source.

    Raises ObjectStoreError.
    """
    landing = _read_manifest(landing_store(settings), landing_folder(batch))
    return landing if landing and landing.source == batch.source else None


def _read_manifest(store: FileStore, folder: str) -> Landing | None:
    try:
        manifest = json.loads(store.read(f"{folder}/{MANIFEST}"))
        for name in ("started_at", "read_at"):
            manifest[name] = datetime.fromisoformat(manifest[name])
        if "files" in manifest:
            manifest["files"] = tuple(f"{folder}/{name}" for name in manifest["files"])
        return Landing(store=store, folder=folder, **manifest)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def unclaimed_revision(settings: Settings, batch: Batch) -> Batch:
    """The batch, or its next revision whose folder does not hold a complete snapshot of another source."""
    store = landing_store(settings)
    while (landing := _read_manifest(store, landing_folder(batch))) and landing.source != batch.source:
        batch = replace(batch, revision=batch.revision + 1)
    return batch


def land_snapshot(
    client: ApiClient,
    batch: Batch,
    settings: Settings,
    *,
    clock: Callable[[], datetime],
    progress: Progress,
    filter_digest: str = "",
    is_filter_current: Callable[[], bool] = lambda: True,
    runner: BlockRunner | None = None,
) -> Landing:
    """Extract the whole snapshot and store its pages. A second call continues after the stored pages.

    `filter_digest` names the row filter of the client; pages that were stored with another are read again.
    `is_filter_current` is false if users were erased since the client got the filter. Then the pages are deleted, also
    if the extraction fails.
    The workers of a `runner` must reach the landing store.

    Raises SourceError if the API cannot be read, SnapshotChanged if the snapshot keeps changing, and LandingError if
    the pages cannot be written.
    """
    store, folder = landing_store(settings), landing_folder(batch)
    try:
        store.delete_unfinished(folder, utc_now().timestamp() - RESUME_WITHIN.total_seconds())
        existing = find_landing(settings, batch)
        if existing is not None:
            return existing
        store.delete(f"{folder}/{MANIFEST}")  # of another source, whose pages are deleted next
        reader = SnapshotReader(client, batch, settings, store, folder, clock, progress, runner, filter_digest)
        try:
            snapshot = reader.read()
        except BaseException:
            with suppress(OSError, LandingError):  # the cause is the error to report
                if not is_filter_current():
                    delete_folder(store, folder)
            raise
        if not is_filter_current():
            delete_folder(store, folder)
            raise LandingError(
                f"a user was erased while {batch.batch_id} was extracted; its pages are deleted: run again"
            )
        return _finish(store, folder, batch, snapshot, clock())
    except OSError as error:
        error_type = DiskFull if is_disk_full(error) else LandingError
        raise error_type(
            f"raw pages cannot be written to {store.location_of(folder)}: {error.strerror or error}; earlier pages are "
            "kept, run again"
        ) from error


def _finish(store: FileStore, folder: str, batch: Batch, snapshot: CompleteSnapshot, read_at: datetime) -> Landing:
    """Write the manifest, which makes the landing complete."""
    landing = Landing(store=store, folder=folder, source=batch.source, read_at=read_at, **vars(snapshot))
    _refuse_missing_pages(landing, batch)
    manifest = {name: getattr(landing, name) for name in ("source", "total", "rows", "pages", "size")}
    manifest |= {"started_at": landing.started_at.isoformat(), "read_at": landing.read_at.isoformat()}
    manifest |= {"files": [name.rpartition("/")[2] for name in snapshot.files]}
    store.write(f"{folder}/{MANIFEST}", json.dumps(manifest, indent=1), durable=True)
    _refuse_missing_pages(landing, batch)  # another extraction may have deleted them since
    return landing


def _refuse_missing_pages(landing: Landing, batch: Batch) -> None:
    if not set(landing.files or ()) <= set(page_files(landing.store, landing.folder)):
        landing.store.delete(f"{landing.folder}/{MANIFEST}")
        raise LandingError(f"another run deleted pages of {batch.batch_id} during its extraction; run it again")


def delete_folder(store: FileStore, folder: str) -> None:
    """Delete a landing. The manifest is deleted first, so that an interrupted deletion leaves no complete landing."""
    store.delete(f"{folder}/{MANIFEST}")
    store.delete_folder(folder)


def delete_landing(settings: Settings, batch: Batch) -> bool:
    """Delete the raw pages of a batch. Returns whether there were any."""
    store, folder = landing_store(settings), landing_folder(batch)
    existed = bool(store.files(folder))
    delete_folder(store, folder)
    return existed
