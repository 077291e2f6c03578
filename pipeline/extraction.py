"""Reading a list page by page while it may change, and proving that the pages read are one whole list.

Why a list counts as moved is in `docs/adr/0004-when-a-snapshot-counts-as-changed.md`.
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

_READING = "reading.json"
_LARGEST_CHUNK = 100
_CHUNKS_PER_THREAD = 8
# The pages that a cut-off read kept are taken up only while they are fresh.
_RESUME_WITHIN = timedelta(hours=1)
_ID_TWICE = "an id is on two pages"


@dataclass(frozen=True)
class CompleteSnapshot:
    """A list that was read to its end and held still. `total` is what the API said, `rows` what it sent."""

    total: int
    rows: int
    pages: int
    size: int
    started_at: datetime


@dataclass(frozen=True)
class _Span:
    """Pages first to last, both included: what one thread reads and one file holds."""

    first: int
    last: int

    @property
    def file_name(self) -> str:
        return f"pages-{self.first:07d}-{self.last:07d}.jsonl.zst"


Keys = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is remembered of a page, to tell whether it is the same when it is read again."""

    total: int
    rows: int
    digest: int


@dataclass
class _Reading:
    """One read of a list: what is remembered of each page, and the keys that each page holds, once a page."""

    pages: dict[int, _Seen] = field(default_factory=dict)
    keys: list[Keys] = field(default_factory=list)

    def add(self, pages: Sequence[Page]) -> None:
        self.pages |= {page.number: _seen(page) for page in pages}
        once = [np.fromiter({key for key in page.keys if key is not None}, dtype=np.int64) for page in pages]
        self.keys.append(np.concatenate(once) if once else np.empty(0, dtype=np.int64))

    def has_key_on_two_pages(self) -> bool:
        keys = np.concatenate(self.keys)
        keys.sort()
        return bool((keys[1:] == keys[:-1]).any())

    @property
    def rows(self) -> int:
        return sum(page.rows for page in self.pages.values())


class SnapshotReader:
    """Reads one list into a folder, again if it moved. A second reader goes on behind the pages that are there."""

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
        """Read until the snapshot stays the same for one read. Raises SourceError, SnapshotChanged, OSError."""
        before: dict[int, _Seen] = {}
        problem, stable = "", False
        for _ in range(self._settings.fetch_reads):
            started_at = self._clock()
            first = self._client.fetch_page(self._batch.endpoint, 1)
            self._resume_or_begin(first)
            reading = self._read_pages(first)
            problem = self._problem(reading, first)
            stable = reading.pages == before
            if not problem or (stable and problem == _ID_TWICE):
                (self._folder / _READING).unlink(missing_ok=True)
                return CompleteSnapshot(first.total, reading.rows, len(reading.pages), first.size, started_at)
            if stable:
                break
            before = reading.pages
            self._clear()
        reads = "twice alike" if stable else f"read {self._settings.fetch_reads} times"
        raise SnapshotChanged(f"GET {self._batch.source}/{self._batch.endpoint}: {problem}; {reads}")

    def _resume_or_begin(self, first: Page) -> None:
        """Keep the pages of a read that was cut off only if it was of the same list, as far as page 1 can tell."""
        about = {"source": self._batch.source, "total": first.total, "size": first.size, "threads": self._threads}
        kept = self._kept_pages(next(_spans(first, self._threads)))
        try:
            begun = json.loads((self._folder / _READING).read_text())
            age = self._clock() - datetime.fromisoformat(begun.pop("begun_at"))
            same = begun == about and age < _RESUME_WITHIN
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            same = False
        if not same or (kept and _seen(first) != _seen(kept[0])):
            self._clear()
            begun = about | {"begun_at": self._clock().isoformat()}
            write_atomically(self._folder / _READING, json.dumps(begun), durable=True)

    def _read_pages(self, first: Page) -> _Reading:
        """Read on with a few threads until the last page, or until a page shows that the list ends before its total."""
        reading = _Reading()
        stop = threading.Event()
        spans: Iterator[_Span] = iter(_spans(first, self._threads))
        with ThreadPoolExecutor(self._threads, thread_name_prefix=self._batch.endpoint) as executor:
            try:
                work = {
                    executor.submit(self._read_span, span, first, stop) for span in islice(spans, 2 * self._threads)
                }
                while work:
                    done, work = wait(work, return_when=FIRST_COMPLETED)
                    for future in done:
                        pages = future.result()
                        reading.add(pages)
                        if any(not page.keys and page.number < _page_count(first) for page in pages):
                            spans = iter(())
                    self._progress(len(reading.pages), _page_count(first))
                    work |= {executor.submit(self._read_span, span, first, stop) for span in islice(spans, len(done))}
            except BaseException:
                stop.set()
                executor.shutdown(wait=True, cancel_futures=True)
                raise
        return reading

    def _read_span(self, span: _Span, first: Page, stop: threading.Event) -> list[Page]:
        """Read and keep some pages, or take those that are kept already. Their bodies are not handed on."""
        kept = self._kept_pages(span)
        if kept:
            return kept
        pages: list[Page] = []
        for number in range(span.first, span.last + 1):
            if stop.is_set():
                raise SourceError("another page could not be read")
            pages.append(first if number == 1 else self._client.fetch_page(self._batch.endpoint, number))
            if not pages[-1].keys and number < _page_count(first):
                break  # the list ends here, whatever its total says
        write_pages(self._folder / span.file_name, [page.body for page in pages])
        return [replace(page, body=b"") for page in pages]

    def _kept_pages(self, span: _Span) -> list[Page]:
        """The pages that an earlier, cut-off read kept; none when they are not there or not whole."""
        path = self._folder / span.file_name
        try:
            bodies = read_pages(path) if path.exists() else []
        except LandingError:
            return []
        pages = (keyed_envelope(self._batch.endpoint, body) for body in bodies)
        return [
            Page(number, b"", total, size or 0, keys) for number, (total, size, keys) in enumerate(pages, span.first)
        ]

    def _problem(self, reading: _Reading, first: Page) -> str:
        """Why these pages are not one whole list; empty when they are."""
        if any(page.total != first.total for page in reading.pages.values()):
            return "its total changed while the list was read"
        if reading.rows != first.total:
            return f"says total {first.total} and sends {reading.rows} rows"
        for number in _to_recheck(first, self._threads):
            if _seen(self._client.fetch_page(self._batch.endpoint, number)) != reading.pages[number]:
                return f"page {number} changed while the list was read"
        if reading.has_key_on_two_pages():
            return _repeated_page(reading.pages) or _ID_TWICE
        return ""

    def _clear(self) -> None:
        for path in [*self._folder.glob("pages-*"), self._folder / _READING]:
            path.unlink(missing_ok=True)

    @property
    def _threads(self) -> int:
        return self._settings.fetch_threads


def _page_count(first: Page) -> int:
    return max(1, -(-first.total // max(1, first.size)))


def _spans(first: Page, threads: int) -> Iterator[_Span]:
    """The pages of a list, cut so that every thread has some and no file holds too many."""
    pages = _page_count(first)
    length = min(_LARGEST_CHUNK, max(1, pages // (threads * _CHUNKS_PER_THREAD)))
    return (_Span(start, min(start + length - 1, pages)) for start in range(1, pages + 1, length))


def _seen(page: Page) -> _Seen:
    return _Seen(page.total, len(page.keys), hash(page.keys))


def _repeated_page(pages: dict[int, _Seen]) -> str:
    """Which page holds the rows of another one: then the API does not heed the number. A single row may come twice."""
    first_with: dict[_Seen, int] = {}
    for number in sorted(pages):
        earlier = first_with.setdefault(pages[number], number)
        if earlier != number and pages[number].rows > 1:
            return f"page {number} repeats page {earlier}"
    return ""


def _to_recheck(first: Page, threads: int) -> list[int]:
    """The first page of every span and the last of all: every page of a short list, one in a hundred of a long one."""
    return sorted({*(span.first for span in _spans(first, threads)), _page_count(first)})
