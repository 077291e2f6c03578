"""Extraction: read a snapshot page by page while it may change, and prove that the pages are one complete snapshot.

See `docs/adr/0004-when-a-snapshot-counts-as-changed.md`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

import numpy as np

from core.atomic_files import write_atomically
from core.errors import LandingError, SnapshotChanged, SourceError
from core.settings import Settings
from pipeline.batches import Batch
from pipeline.client import ApiClient, Page
from pipeline.page_format import keyed_envelope
from pipeline.raw_pages import read_pages, write_pages

Progress = Callable[[int, int], None]

_READ_STATE = "reading.json"
_MAX_SPAN_PAGES = 100
_SPANS_PER_THREAD = 8
# A read continues with the stored pages of an interrupted read only if they are newer than this.
_RESUME_WITHIN = timedelta(hours=1)
_REPEATED_ID = "an id is on two pages"


@dataclass(frozen=True)
class CompleteSnapshot:
    """A snapshot that was read completely and did not change during the read.

    `total` is the number that the API reported, `rows` the number that it sent.
    """

    total: int
    rows: int
    pages: int
    size: int
    started_at: datetime


@dataclass(frozen=True)
class _Span:
    """The pages `first` to `last`, inclusive. One thread reads them, and one file stores them."""

    first: int
    last: int

    @property
    def file_name(self) -> str:
        return f"pages-{self.first:07d}-{self.last:07d}.jsonl.zst"


Keys = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class _PageFingerprint:
    """Two reads of a page have the same fingerprint if the page did not change."""

    total: int
    rows: int
    digest: int


@dataclass
class _SnapshotRead:
    """One read of a snapshot: the fingerprint of each page, and the distinct keys of each page."""

    pages: dict[int, _PageFingerprint] = field(default_factory=dict)
    keys: list[Keys] = field(default_factory=list)

    def add(self, pages: Sequence[Page]) -> None:
        self.pages |= {page.number: _fingerprint(page) for page in pages}
        distinct = [np.fromiter({key for key in page.keys if key is not None}, dtype=np.int64) for page in pages]
        self.keys.append(np.concatenate(distinct) if distinct else np.empty(0, dtype=np.int64))

    def has_key_on_two_pages(self) -> bool:
        keys = np.concatenate(self.keys)
        keys.sort()
        return bool((keys[1:] == keys[:-1]).any())

    @property
    def rows(self) -> int:
        return sum(page.rows for page in self.pages.values())


class SnapshotReader:
    """Reads one snapshot into a folder, and reads it again if it changed.

    It continues after the pages that an interrupted read stored.
    """

    def __init__(
        self,
        client: ApiClient,
        batch: Batch,
        settings: Settings,
        folder: Path,
        clock: Callable[[], datetime],
        progress: Progress,
    ) -> None:
        self._client = client
        self._batch = batch
        self._settings = settings
        self._folder = folder
        self._clock = clock
        self._progress = progress

    def read(self) -> CompleteSnapshot:
        """Read until the snapshot does not change during a read. Raises SourceError, SnapshotChanged, OSError."""
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
                (self._folder / _READ_STATE).unlink(missing_ok=True)
                return CompleteSnapshot(first.total, reading.rows, len(reading.pages), first.size, started_at)
            if stable:
                break
            previous_pages = reading.pages
            self._clear()
        reads = "twice alike" if stable else f"read {self._settings.fetch_reads} times"
        raise SnapshotChanged(f"GET {self._batch.source}/{self._batch.endpoint}: {problem}; {reads}")

    def _resume_or_begin(self, first: Page) -> None:
        """Keep the stored pages of an interrupted read only if page 1, size and total are the same. Delete others."""
        state = {"source": self._batch.source, "total": first.total, "size": first.size, "threads": self._threads}
        stored_pages = self._stored_pages(next(_spans(first, self._threads)))
        try:
            stored_state = json.loads((self._folder / _READ_STATE).read_text())
            age = self._clock() - datetime.fromisoformat(stored_state.pop("begun_at"))
            can_resume = stored_state == state and age < _RESUME_WITHIN
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            can_resume = False
        if not can_resume or (stored_pages and _fingerprint(first) != _fingerprint(stored_pages[0])):
            self._clear()
            new_state = state | {"begun_at": self._clock().isoformat()}
            write_atomically(self._folder / _READ_STATE, json.dumps(new_state), durable=True)

    def _read_pages(self, first: Page) -> _SnapshotRead:
        """Read with several threads until the last page, or until an empty page ends the snapshot before its total."""
        reading = _SnapshotRead()
        stop = threading.Event()
        spans: Iterator[_Span] = iter(_spans(first, self._threads))
        with ThreadPoolExecutor(self._threads, thread_name_prefix=self._batch.endpoint) as executor:
            try:
                pending = {
                    executor.submit(self._read_span, span, first, stop) for span in islice(spans, 2 * self._threads)
                }
                while pending:
                    completed, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in completed:
                        pages = future.result()
                        reading.add(pages)
                        if any(not page.keys and page.number < _page_count(first) for page in pages):
                            spans = iter(())
                    self._progress(len(reading.pages), _page_count(first))
                    following = islice(spans, len(completed))
                    pending |= {executor.submit(self._read_span, span, first, stop) for span in following}
            except BaseException:
                stop.set()
                executor.shutdown(wait=True, cancel_futures=True)
                raise
        return reading

    def _read_span(self, span: _Span, first: Page, stop: threading.Event) -> list[Page]:
        """Read and store the pages of a span, unless they are stored already. Returns them without their bodies."""
        stored_pages = self._stored_pages(span)
        if stored_pages:
            return stored_pages
        pages: list[Page] = []
        for number in range(span.first, span.last + 1):
            if stop.is_set():
                raise SourceError("another page could not be read")
            pages.append(first if number == 1 else self._client.fetch_page(self._batch.endpoint, number))
            if not pages[-1].keys and number < _page_count(first):
                break  # the snapshot ends before its total
        write_pages(self._folder / span.file_name, [page.body for page in pages])
        return [replace(page, body=b"") for page in pages]

    def _stored_pages(self, span: _Span) -> list[Page]:
        """The pages that an interrupted read stored. Empty if the file is missing or damaged."""
        path = self._folder / span.file_name
        try:
            bodies = read_pages(path) if path.exists() else []
        except LandingError:
            return []
        pages = (keyed_envelope(self._batch.endpoint, body) for body in bodies)
        return [
            Page(number, b"", total, size or 0, keys) for number, (total, size, keys) in enumerate(pages, span.first)
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
        for path in [*self._folder.glob("pages-*"), self._folder / _READ_STATE]:
            path.unlink(missing_ok=True)

    @property
    def _threads(self) -> int:
        return self._settings.fetch_threads


def _page_count(first: Page) -> int:
    return max(1, -(-first.total // max(1, first.size)))


def _spans(first: Page, threads: int) -> Iterator[_Span]:
    """The pages of a snapshot in spans: enough spans for every thread, and not too many pages in a span."""
    pages = _page_count(first)
    length = min(_MAX_SPAN_PAGES, max(1, pages // (threads * _SPANS_PER_THREAD)))
    return (_Span(start, min(start + length - 1, pages)) for start in range(1, pages + 1, length))


def _fingerprint(page: Page) -> _PageFingerprint:
    return _PageFingerprint(page.total, len(page.keys), hash(page.keys))


def _repeated_page(pages: dict[int, _PageFingerprint]) -> str:
    """A message if a page repeats an earlier page: the API ignores the page number. Pages of one row may be equal."""
    first_numbers: dict[_PageFingerprint, int] = {}
    for number in sorted(pages):
        earlier = first_numbers.setdefault(pages[number], number)
        if earlier != number and pages[number].rows > 1:
            return f"page {number} repeats page {earlier}"
    return ""


def _to_recheck(first: Page, threads: int) -> list[int]:
    """The pages to read again: the first of every span, and the last. They are all pages of a short snapshot, and one
    in a hundred of a long one."""
    return sorted({*(span.first for span in _spans(first, threads)), _page_count(first)})
