"""Extraction: read a snapshot page by page while it may change, and prove that the pages are one complete snapshot.

See `docs/adr/0004-when-a-snapshot-counts-as-changed.md`.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from uuid import uuid4

import numpy as np

from compute.blocks import BlockJob, BlockRunner, ClosableState
from core.errors import DamagedPages, LandingError, ObjectStoreError, SettingsError, SnapshotChanged, SourceError
from core.file_store import FileStore
from core.roles import INGEST, has_login
from core.settings import Settings, load_settings
from core.stores import landing_store
from pipeline.batches import Batch
from pipeline.client import ApiClient, Page
from pipeline.page_format import keyed_envelope
from pipeline.raw_pages import read_pages, write_pages
from pipeline.request_rate import request_rate_of
from pipeline.row_filter import RowFilter

Progress = Callable[[int, int], None]

MANIFEST = "manifest.json"
_READ_STATE = "reading.json"
# Earlier versions had no writer in the name.
_PAGE_FILE = re.compile(r"pages-(\d+)(?:-(\d+))?(?:-\w+)?\.jsonl\.zst")
_MAX_PAGES_PER_RANGE = 100
_RANGES_PER_THREAD = 8
# A read continues with the stored pages of an interrupted read only if they are newer than this.
RESUME_WITHIN = timedelta(hours=1)
_KEY_PARTS = 16
_REPEATED_ID = "an id is on two pages"


@dataclass(frozen=True)
class CompleteSnapshot:
    """A snapshot that was read completely and did not change during the read.

    `total` is the number that the API reported, `rows` the number that it sent. `files` are names in the store.
    """

    total: int
    rows: int
    pages: int
    size: int
    started_at: datetime
    files: tuple[str, ...]


@dataclass(frozen=True)
class PageRange:
    """The pages `first` to `last`, inclusive. One thread or worker reads them, and one file stores them."""

    first: int
    last: int

    def file_name(self, writer: str) -> str:
        return f"pages-{self.first:07d}-{self.last:07d}-{writer}.jsonl.zst"


Keys = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class _PageFingerprint:
    """Two reads of a page have the same fingerprint if the page did not change."""

    total: int
    rows: int
    digest: int


@dataclass(frozen=True)
class _RangeRead:
    """The fingerprint of each page of a range, the distinct keys of each page, and the file that stores them."""

    pages: dict[int, _PageFingerprint]
    keys: Keys
    file: str

    @classmethod
    def of(cls, pages: Sequence[Page], file: str) -> _RangeRead:
        distinct = [np.fromiter({key for key in page.keys if key is not None}, dtype=np.int64) for page in pages]
        keys = np.concatenate(distinct) if distinct else np.empty(0, dtype=np.int64)
        return cls({page.number: _fingerprint(page) for page in pages}, keys, file)


@dataclass
class _SnapshotRead:
    """One read of a snapshot: the fingerprint of each page, and the distinct keys of each page."""

    pages: dict[int, _PageFingerprint] = field(default_factory=dict)
    keys: list[Keys] = field(default_factory=list)

    def add(self, read: _RangeRead) -> None:
        self.pages |= read.pages
        self.keys.append(read.keys)

    def has_key_on_two_pages(self) -> bool:
        """Whether a key repeats. Keys are compared in parts: a sorted copy of all would double the memory."""
        for part in range(_KEY_PARTS):
            keys = np.concatenate([page_keys[page_keys % _KEY_PARTS == part] for page_keys in self.keys])
            keys.sort()
            if (keys[1:] == keys[:-1]).any():
                return True
        return False

    @property
    def rows(self) -> int:
        return sum(page.rows for page in self.pages.values())


@dataclass(frozen=True)
class SnapshotRanges:
    """The data with which a worker reads page ranges of a snapshot, besides its own settings. It holds no login.

    `first` is page 1, `folder` that of the batch in the landing store, and `writer` a part of the names of its files.
    """

    batch: Batch
    landing_url: str
    page_size: int
    folder: str
    writer: str
    first: Page
    row_filter: RowFilter | None


class PageRangeReader(ClosableState):
    """Reads and stores ranges of pages on a worker, with the logins of its own settings. Threads can share it."""

    def __init__(self, snapshot: SnapshotRanges) -> None:
        self._snapshot = snapshot
        self._lock = threading.Lock()
        self._at_close = ExitStack()
        self._opened: tuple[ApiClient, FileStore] | None = None
        self._is_closed = False

    def __reduce__(self) -> tuple[Any, ...]:
        return PageRangeReader, (self._snapshot,)

    def read(self, pages: PageRange) -> _RangeRead:
        """Read and store a range.

        Raises SettingsError if the settings name another source or landing store than those of the run, or lack the
        database that counts requests; SourceError, DatabaseError, OSError, ObjectStoreError.
        """
        client, store = self._ensure_open()
        file = f"{self._snapshot.folder}/{pages.file_name(self._snapshot.writer)}"
        return _read_range(client, self._snapshot, pages, store, file, lambda: self._is_closed)

    def close(self) -> None:
        """Close the connection to the database."""
        with self._lock:
            self._is_closed = True
            self._at_close.close()

    def _ensure_open(self) -> tuple[ApiClient, FileStore]:
        """Check the settings and connect, at the first range."""
        with self._lock:
            if self._opened is None:
                settings = self._settings()
                request_rate = self._at_close.enter_context(request_rate_of(settings))
                client = ApiClient(settings, self._snapshot.row_filter, request_rate)
                self._opened = client, landing_store(settings)
            return self._opened

    def _settings(self) -> Settings:
        settings = load_settings().model_copy(update={"page_size": self._snapshot.page_size})
        for name, value, expected in (
            ("MOOVITAMIX_API_URL", settings.source, self._snapshot.batch.source),
            ("LANDING_URL", settings.landing_url, self._snapshot.landing_url),
        ):
            if value != expected:
                raise SettingsError(f"wrong setting: {name} of a worker is not that of the run; set it to {expected!r}")
        if settings.source_requests_per_second and not has_login(settings, INGEST):
            raise SettingsError(
                "wrong setting: a worker with SOURCE_REQUESTS_PER_SECOND has no INGEST_DATABASE_URL; set it to the "
                "database of the run, which counts the requests of all machines"
            )
        return settings


def _read_range(
    client: ApiClient,
    snapshot: SnapshotRanges,
    pages: PageRange,
    store: FileStore,
    file: str,
    is_stopped: Callable[[], bool],
) -> _RangeRead:
    """Read a range up to the end of the snapshot, and store it in a file."""
    endpoint, first = snapshot.batch.endpoint, snapshot.first
    read: list[Page] = []
    for number in range(pages.first, pages.last + 1):
        if is_stopped():
            raise SourceError("another page could not be read")
        read.append(first if number == 1 else client.fetch_page(endpoint, number))
        if not read[-1].keys and number < _page_count(first):
            break  # the snapshot ends before its total
    write_pages(store, file, [page.body for page in read])
    return _RangeRead.of(read, file)


READ_PAGES: BlockJob[PageRangeReader, PageRange, _RangeRead] = BlockJob(
    "read pages", PageRangeReader.read, describe=lambda _, pages: f"pages {pages.first} to {pages.last}"
)


class SnapshotReader:
    """Reads one snapshot into a folder of a store, and reads it again if it changed.

    It continues after the pages that an interrupted read stored. Its own files have names that no other reader writes.
    """

    def __init__(
        self,
        client: ApiClient,
        batch: Batch,
        settings: Settings,
        store: FileStore,
        folder: str,
        clock: Callable[[], datetime],
        progress: Progress,
        runner: BlockRunner | None = None,
        filter_digest: str = "",
    ) -> None:
        """`filter_digest` names the row filter of `client`: pages that another filter let through are read again.

        With a runner, its workers read the ranges of pages; otherwise threads of this process do, with `client`."""
        self._client = client
        self._runner = runner
        self._batch = batch
        self._settings = settings
        self._store = store
        self._folder = folder
        self._files: dict[tuple[int, int], str] = {}
        self._clock = clock
        self._progress = progress
        self._filter_digest = filter_digest

    def read(self) -> CompleteSnapshot:
        """Read until the snapshot does not change during a read.

        Raises SourceError, SnapshotChanged, OSError, ObjectStoreError.
        """
        previous_pages: dict[int, _PageFingerprint] = {}
        problem, stable = "", False
        for _ in range(self._settings.fetch_reads):
            started_at = self._clock()
            first = self._client.fetch_page(self._batch.endpoint, 1)
            self._resume_or_begin(first)
            reading = self._read_pages(first)
            problem = self._problem(reading, first)
            stable = reading.pages == previous_pages
            if not problem or (stable and problem == _REPEATED_ID):
                self._store.delete(self._state_file)
                files = tuple(name for pages, name in sorted(self._files.items()) if pages[0] in reading.pages)
                return CompleteSnapshot(first.total, reading.rows, len(reading.pages), first.size, started_at, files)
            if stable:
                break
            previous_pages = reading.pages
            self._clear()
        reads = "twice alike" if stable else f"read {self._settings.fetch_reads} times"
        raise SnapshotChanged(f"GET {self._batch.source}/{self._batch.endpoint}: {problem}; {reads}")

    def _resume_or_begin(self, first: Page) -> None:
        """Keep the pages of an interrupted read if page 1, size, total and filter are the same; else delete them."""
        state = {"source": self._batch.source, "total": first.total, "size": first.size, "threads": self._threads}
        state |= {"filter": self._filter_digest}
        self._files = {parse_page_file(name): name for name in page_files(self._store, self._folder)}
        try:
            stored_state = json.loads(self._store.read(self._state_file))
            age = self._clock() - datetime.fromisoformat(stored_state.pop("begun_at"))
            can_resume = stored_state == state and age < RESUME_WITHIN
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            can_resume = False
        stored_pages = self._stored_pages(next(_ranges(first, self._threads))) if can_resume else []
        if not can_resume or (stored_pages and _fingerprint(first) != _fingerprint(stored_pages[0])):
            self._clear()
            new_state = state | {"begun_at": self._clock().isoformat()}
            self._store.write(self._state_file, json.dumps(new_state), durable=True)

    def _read_pages(self, first: Page) -> _SnapshotRead:
        """Read until the last page, or until an empty page ends the snapshot before its total."""
        landing_url, page_size = self._settings.landing_url, self._settings.page_size
        writer = uuid4().hex[:8]
        snapshot = SnapshotRanges(
            self._batch, landing_url, page_size, self._folder, writer, first, self._client.row_filter
        )
        read = self._read_with_threads(snapshot) if self._runner is None else self._read_with(self._runner, snapshot)
        reading = _SnapshotRead()
        for pages, range_read in read:
            reading.add(range_read)
            self._files[pages.first, pages.last] = range_read.file
            self._progress(len(reading.pages), _page_count(first))
        return reading

    def _read_with(self, runner: BlockRunner, snapshot: SnapshotRanges) -> Iterator[tuple[PageRange, _RangeRead]]:
        """Read the ranges that are not stored already on workers."""
        missing = []
        for pages in _ranges(snapshot.first, self._threads):
            if stored := self._stored_range(pages):
                yield pages, stored
            else:
                missing.append(pages)
        rate = self._settings.source_requests_per_second  # all threads of the workers share it
        longest = max((pages.last - pages.first + 1 for pages in missing), default=0)
        job = replace(READ_PAGES, seconds_per_thread=longest / rate if rate else 0.0)
        for number, range_read in runner.run(job, PageRangeReader(snapshot), missing):
            yield missing[number], range_read

    def _read_with_threads(self, snapshot: SnapshotRanges) -> Iterator[tuple[PageRange, _RangeRead]]:
        """Read with several threads of this process. An empty page before the last one ends the read."""
        stop, last = threading.Event(), _page_count(snapshot.first)
        ranges = iter(_ranges(snapshot.first, self._threads))

        def read(pages: PageRange) -> tuple[PageRange, _RangeRead]:
            file = f"{self._folder}/{pages.file_name(snapshot.writer)}"
            stored = self._stored_range(pages)
            return pages, stored or _read_range(self._client, snapshot, pages, self._store, file, stop.is_set)

        with ThreadPoolExecutor(self._threads, thread_name_prefix=self._batch.endpoint) as executor:
            try:
                pending = {executor.submit(read, pages) for pages in islice(ranges, 2 * self._threads)}
                while pending:
                    completed, pending = wait(pending, return_when=FIRST_COMPLETED)
                    results = [future.result() for future in completed]
                    if any(
                        not page.rows and number < last
                        for _, result in results
                        for number, page in result.pages.items()
                    ):
                        ranges = iter(())
                    yield from results
                    pending |= {executor.submit(read, pages) for pages in islice(ranges, len(completed))}
            except BaseException:
                stop.set()
                executor.shutdown(wait=True, cancel_futures=True)
                raise

    def _stored_range(self, pages: PageRange) -> _RangeRead | None:
        """The range as an interrupted read stored it; None if the file is missing or damaged."""
        stored = self._stored_pages(pages)
        return _RangeRead.of(stored, self._files[pages.first, pages.last]) if stored else None

    def _stored_pages(self, pages: PageRange) -> list[Page]:
        """The pages that an interrupted read stored. Empty if the file is missing or damaged."""
        name = self._files.get((pages.first, pages.last))
        try:
            bodies = read_pages(self._store, name) if name else []
        except ObjectStoreError:
            raise
        except LandingError:
            return []
        envelopes = (keyed_envelope(self._batch.endpoint, body) for body in bodies)
        return [
            Page(number, b"", total, size or 0, keys)
            for number, (total, size, keys) in enumerate(envelopes, pages.first)
        ]

    def _problem(self, reading: _SnapshotRead, first: Page) -> str:
        """Why the pages are not one complete snapshot. Empty if they are."""
        if any(page.total != first.total for page in reading.pages.values()):
            return "its total changed during extraction"
        if reading.rows != first.total:
            return f"says total {first.total} and sends {reading.rows} rows"
        for number in _to_recheck(first, self._threads):
            if _fingerprint(self._client.fetch_page(self._batch.endpoint, number)) != reading.pages[number]:
                return f"page {number} changed during extraction"
        if reading.has_key_on_two_pages():
            return _repeated_page(reading.pages) or _REPEATED_ID
        return ""

    def _clear(self) -> None:
        """Delete all pages, of other readers too, and the manifest that may name them.

        The manifest is deleted first, so that a killed deletion leaves no landing without pages; and last, because
        another extraction may complete meanwhile.
        """
        manifest = f"{self._folder}/{MANIFEST}"
        self._store.delete(manifest)
        for name in [*page_files(self._store, self._folder), self._state_file, manifest]:
            self._store.delete(name)
        self._files = {}

    @property
    def _state_file(self) -> str:
        return f"{self._folder}/{_READ_STATE}"

    @property
    def _threads(self) -> int:
        return self._settings.fetch_threads


def page_files(store: FileStore, folder: str) -> list[str]:
    """The names of the files of raw pages below a folder, by landing and page. Raises OSError, ObjectStoreError."""
    names = [file.name for file in store.files(folder)]
    return [name for name in names if _PAGE_FILE.fullmatch(name.rpartition("/")[2])]


def parse_page_file(name: str) -> tuple[int, int]:
    """The numbers of the first and the last page in a file."""
    match = _PAGE_FILE.fullmatch(name.rpartition("/")[2])
    if match is None:
        raise DamagedPages(f"{name} is not the name of a file of raw pages; fetch the day again (--refresh)")
    return int(match[1]), int(match[2] or match[1])


def _page_count(first: Page) -> int:
    return max(1, -(-first.total // max(1, first.size)))


def _ranges(first: Page, threads: int) -> Iterator[PageRange]:
    """The pages of a snapshot in ranges: enough ranges for every thread, and not too many pages in a range."""
    pages = _page_count(first)
    length = min(_MAX_PAGES_PER_RANGE, max(1, pages // (threads * _RANGES_PER_THREAD)))
    return (PageRange(start, min(start + length - 1, pages)) for start in range(1, pages + 1, length))


def _fingerprint(page: Page) -> _PageFingerprint:
    """The fingerprint. It is the same in every process: the hash of None is not, so positions without a key count."""
    missing = tuple(position for position, key in enumerate(page.keys) if key is None) if None in page.keys else ()
    keys = tuple(key or 0 for key in page.keys) if missing else page.keys
    return _PageFingerprint(page.total, len(page.keys), hash((keys, missing)))


def _repeated_page(pages: dict[int, _PageFingerprint]) -> str:
    """A message if a page repeats an earlier page: the API ignores the page number. Pages of one row may be equal."""
    first_numbers: dict[_PageFingerprint, int] = {}
    for number in sorted(pages):
        earlier = first_numbers.setdefault(pages[number], number)
        if earlier != number and pages[number].rows > 1:
            return f"page {number} repeats page {earlier}"
    return ""


def _to_recheck(first: Page, threads: int) -> list[int]:
    """The pages to read again: the first of every range, and the last.

    Of a short snapshot these are all pages, of a long snapshot one page in a hundred.
    """
    return sorted({*(pages.first for pages in _ranges(first, threads)), _page_count(first)})
