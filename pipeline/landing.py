"""Landing: the pages of one batch, kept as they were sent, and proof that they are one whole list.

`DATA_DIR/landing/<endpoint>/<batch id>/` holds `pages-<first>-<last>.jsonl.zst` (a page a line) and, once the list was
read to its end and found whole, `manifest.json`. After that nothing in the folder changes.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice
from pathlib import Path

import numpy as np
import zstandard

from core.columns import Endpoint
from core.errors import AlreadyRunning, LandingError, ListMoved, SourceError
from core.settings import Settings
from pipeline.api import ApiClient, Page
from pipeline.batches import Batch
from pipeline.contract import keyed_envelope

Progress = Callable[[int, int], None]

_MANIFEST = "manifest.json"
_READING = "reading.json"
_LARGEST_CHUNK = 100
_CHUNKS_PER_THREAD = 8
_RECHECKED_PAGES = 20


@dataclass(frozen=True)
class Landing:
    """The raw pages of one batch. `total` is what the API said, `rows` what it sent. Times are UTC."""

    folder: Path
    source: str
    total: int
    rows: int
    pages: int
    size: int
    started_at: datetime
    read_at: datetime

    def chunks(self) -> Iterator[tuple[int, list[bytes]]]:
        """Runs of pages in order: the number of the first, and the bodies. Raises LandingError."""
        for path in sorted(self.folder.glob("pages-*.jsonl.zst")):
            yield int(path.name.split("-")[1]), _read_chunk(path)


@dataclass(frozen=True)
class _Span:
    """Pages first to last, both included: what one thread reads and one file holds."""

    first: int
    last: int

    @property
    def file_name(self) -> str:
        return f"pages-{self.first:07d}-{self.last:07d}.jsonl.zst"


@dataclass(frozen=True)
class _Seen:
    """What is remembered of a page: its total and the keys of its rows (0 where a row has none)."""

    total: int
    keys: np.ndarray[tuple[int], np.dtype[np.int64]]

    def same(self, other: _Seen | None) -> bool:
        return other is not None and self.total == other.total and np.array_equal(self.keys, other.keys)


def landing_folder(data_dir: Path, batch: Batch) -> Path:
    """Where the raw pages of a batch are."""
    return data_dir / "landing" / batch.endpoint / batch.batch_id


def landed(data_dir: Path, batch: Batch) -> Landing | None:
    """The landing of a batch, if it was read to its end from the batch's source and is still there."""
    folder = landing_folder(data_dir, batch)
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        for name in ("started_at", "read_at"):
            manifest[name] = datetime.fromisoformat(manifest[name])
        landing = Landing(folder=folder, **manifest)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return landing if landing.source == batch.source else None


def land(
    client: ApiClient, batch: Batch, settings: Settings, *, clock: Callable[[], datetime], progress: Progress
) -> Landing:
    """Read the whole list and keep its pages; a second call goes on behind the pages that are there.

    Raises SourceError when the API cannot be read, ListMoved when the list does not hold still, LandingError when the
    disk does not take the pages.
    """
    folder = landing_folder(settings.data_dir, batch)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder, settings.lock_wait_seconds):
            done = landed(settings.data_dir, batch)
            return done or _Reader(client, batch, settings, folder, clock, progress).read()
    except OSError as error:
        raise LandingError(
            f"raw pages cannot be written to {folder}: {error.strerror or error}; those landed before are kept, run again"
        ) from error


class _Reader:
    """Reads one list into its folder, again if it moved."""

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

    def read(self) -> Landing:
        before: dict[int, _Seen] = {}
        problem = ""
        for _ in range(self._settings.fetch_reads):
            started_at = self._clock()
            first = self._client.page(self._batch.endpoint, 1)
            self._resume_or_begin(first)
            seen = self._read_pages(first)
            problem = self._problem(seen, first)
            stable = bool(before) and _same_reading(seen, before)
            if not problem or (stable and problem == _ID_TWICE):
                return self._finish(seen, first, started_at)
            if stable:
                break
            before = seen
            self._clear()
        raise ListMoved(
            f"GET {self._batch.source}/{self._batch.endpoint}: {problem}; read {self._settings.fetch_reads} times"
            if not stable
            else f"GET {self._batch.source}/{self._batch.endpoint}: {problem}, twice alike"
        )

    def _resume_or_begin(self, first: Page) -> None:
        """Keep the pages of a read that was cut off only if it was of the same list, as far as page 1 can tell."""
        about = {"source": self._batch.source, "total": first.total, "size": first.size, "threads": self._threads}
        kept = _seen_in(self._folder / next(_spans(first, self._threads)).file_name, self._batch.endpoint)
        try:
            same = json.loads((self._folder / _READING).read_text()) == about
        except (OSError, ValueError):
            same = False
        if not same or (kept and not _seen(first).same(kept[0])):
            self._clear()
            _write(self._folder / _READING, json.dumps(about).encode())

    def _read_pages(self, first: Page) -> dict[int, _Seen]:
        """Read on with a few threads until the last page, or until a page shows that the list ends before its total."""
        seen: dict[int, _Seen] = {}
        stop = threading.Event()
        spans: Iterator[_Span] = iter(_spans(first, self._threads))
        with ThreadPoolExecutor(self._threads, thread_name_prefix=self._batch.endpoint) as executor:
            try:
                work = {
                    executor.submit(self._read_span, span, first, stop) for span in islice(spans, 2 * self._threads)
                }
                while work:
                    done, work = wait(work, return_when=FIRST_COMPLETED)
                    came = dict(chain.from_iterable(future.result().items() for future in done))
                    seen |= came
                    self._progress(len(seen), _page_count(first))
                    if _ends_early(came, first):
                        spans = iter(())
                    work |= {executor.submit(self._read_span, span, first, stop) for span in islice(spans, len(done))}
            except BaseException:
                stop.set()
                executor.shutdown(wait=True, cancel_futures=True)
                raise
        return seen

    def _read_span(self, span: _Span, first: Page, stop: threading.Event) -> dict[int, _Seen]:
        path = self._folder / span.file_name
        kept = _seen_in(path, self._batch.endpoint)
        if kept:
            return {span.first + offset: seen for offset, seen in enumerate(kept)}
        pages: list[Page] = []
        for number in range(span.first, span.last + 1):
            if stop.is_set():
                raise SourceError("another page could not be read")
            pages.append(first if number == 1 else self._client.page(self._batch.endpoint, number))
        _write_chunk(path, [page.body for page in pages])
        return {page.number: _seen(page) for page in pages}

    def _problem(self, seen: dict[int, _Seen], first: Page) -> str:
        """Why these pages are not one whole list; empty when they are."""
        if any(page.total != first.total for page in seen.values()):
            return "its total changed while the list was read"
        rows = sum(len(page.keys) for page in seen.values())
        if rows != first.total:
            return f"says total {first.total} and sends {rows} rows"
        for number in _to_recheck(len(seen)):
            if not _seen(self._client.page(self._batch.endpoint, number)).same(seen[number]):
                return f"page {number} changed while the list was read"
        return _ID_TWICE if _key_on_two_pages(seen) else ""

    def _finish(self, seen: dict[int, _Seen], first: Page, started_at: datetime) -> Landing:
        landing = Landing(
            folder=self._folder,
            source=self._batch.source,
            total=first.total,
            rows=sum(len(page.keys) for page in seen.values()),
            pages=len(seen),
            size=first.size,
            started_at=started_at,
            read_at=self._clock(),
        )
        manifest = {name: getattr(landing, name) for name in ("source", "total", "rows", "pages", "size")}
        manifest |= {"started_at": landing.started_at.isoformat(), "read_at": landing.read_at.isoformat()}
        _write(self._folder / _MANIFEST, json.dumps(manifest, indent=1).encode())
        (self._folder / _READING).unlink(missing_ok=True)
        return landing

    def _clear(self) -> None:
        for path in self._folder.iterdir():
            if path.name != _LOCK:
                path.unlink()

    @property
    def _threads(self) -> int:
        return self._settings.fetch_threads


_ID_TWICE = "an id is on two pages"
_LOCK = "lock"


def _page_count(first: Page) -> int:
    return max(1, -(-first.total // max(1, first.size)))


def _spans(first: Page, threads: int) -> Iterator[_Span]:
    """The pages of a list, cut so that every thread has some and no file holds too many."""
    pages = _page_count(first)
    length = min(_LARGEST_CHUNK, max(1, pages // (threads * _CHUNKS_PER_THREAD)))
    return (_Span(start, min(start + length - 1, pages)) for start in range(1, pages + 1, length))


def _ends_early(came: dict[int, _Seen], first: Page) -> bool:
    """Whether a page that is not the last has no rows: the total cannot be reached, however far we read."""
    return any(len(page.keys) == 0 for number, page in came.items() if number < _page_count(first))


def _seen(page: Page) -> _Seen:
    return _Seen(page.total, np.fromiter((key or 0 for key in page.keys), dtype=np.int64, count=len(page.keys)))


def _same_reading(one: dict[int, _Seen], other: dict[int, _Seen]) -> bool:
    return len(one) == len(other) and all(page.same(other.get(number)) for number, page in one.items())


def _to_recheck(pages: int) -> list[int]:
    """The last page, which any shift reaches, and some spread over the list."""
    return sorted(
        {pages, *range(pages, 0, -max(1, pages // _RECHECKED_PAGES))} if pages > _RECHECKED_PAGES else {pages}
    )


def _key_on_two_pages(seen: dict[int, _Seen]) -> bool:
    keys = np.concatenate([np.unique(page.keys[page.keys != 0]) for page in seen.values()])
    return len(np.unique(keys)) < len(keys)


def _seen_in(path: Path, endpoint: Endpoint) -> list[_Seen]:
    """What a chunk of an earlier, cut-off read holds; nothing when it is not there or not whole."""
    try:
        bodies = _read_chunk(path) if path.exists() else []
    except LandingError:
        return []
    pages = (keyed_envelope(endpoint, body) for body in bodies)
    return [_seen(Page(0, b"", total, size or 0, keys)) for total, size, keys in pages]


def _write_chunk(path: Path, bodies: list[bytes]) -> None:
    # JSON holds line breaks only between its tokens, so a page fits a line without changing what it says.
    lines = b"\n".join(body.replace(b"\r", b" ").replace(b"\n", b" ") for body in bodies)
    _write(path, zstandard.ZstdCompressor(level=1, write_checksum=True).compress(lines))


def _read_chunk(path: Path) -> list[bytes]:
    try:
        return zstandard.ZstdDecompressor().decompress(path.read_bytes()).split(b"\n")
    except (OSError, zstandard.ZstdError) as error:
        raise LandingError(
            f"raw pages cannot be read back from {path}: {error}; fetch the day again (--refresh)"
        ) from error


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    unfinished = path.with_name(f".{path.name}.part")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


@contextmanager
def _alone(folder: Path, wait_seconds: float) -> Iterator[None]:
    """Keep a second process out of the folder, also when there is no database to hold the ingest lock."""
    with (folder / _LOCK).open("w") as file:
        until = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise AlreadyRunning(
                        f"another run is writing to {folder}; wait for it, or raise LOCK_WAIT_SECONDS"
                    ) from None
                time.sleep(0.2)
        yield


def remove(data_dir: Path, batch: Batch) -> bool:
    """Delete the raw pages of a batch. Returns whether there were any."""
    folder = landing_folder(data_dir, batch)
    if not folder.exists():
        return False
    shutil.rmtree(folder)
    return True
