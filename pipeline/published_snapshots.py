"""Recognise the rows of a snapshot that the last published snapshot of its endpoint also had, by their bytes.

A page with the same rows as a page of the published snapshot is unchanged. In the other pages, a row with the same
bytes is unchanged. Only the remaining rows are decoded, transformed and compared: the new rows, and the outdated rows
of the published snapshot. The landing folder still holds the pages of that snapshot. See
`docs/adr/0040-unchanged-rows-are-recognised-by-their-bytes.md`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray
from psycopg.rows import dict_row

from core.database import Connection, newest_migration, readable_errors
from core.endpoints import ENDPOINTS, Endpoint
from core.queries import compose_query, load_query
from pipeline.landing import Landing
from pipeline.page_format import raw_rows

PAGE_DIGEST_BYTES = 16
# With a larger share of changed rows, decoding everything is as fast.
_MAX_CHANGED_SHARE = 0.1
_ROWS_ALWAYS_COMPARED = 10_000
# The modules and packages that decide what a raw row becomes.
_SHAPING_MODULES = (
    "core.canonical",
    "core.endpoints",
    "pipeline.decoding",
    "pipeline.deduplication",
    "pipeline.page_format",
    "pipeline.published_snapshots",
    "pipeline.row_filter",
    "pipeline.timestamps",
    "pipeline.transformation",
)
_SHAPING_PACKAGES = ("msgspec", "polars", "xxhash")

RowDigests = NDArray[np.uint64]


class _Items(msgspec.Struct):
    items: msgspec.Raw


_ITEMS_DECODER = msgspec.json.Decoder(_Items)


@dataclass(frozen=True)
class SnapshotDigests:
    """What recognises the rows of a snapshot later.

    `pages` holds a digest of the rows of each page, in order. `pages_to_decode` are numbers of pages that are not
    recognised as a whole: they are short, or have a row of the next two fields. `rejected_rows` are digests of rejected
    rows. `rows_to_decode` are digests of the other rows that must be decoded again: they share a key, are erased, have
    rejected plays, or a time after `newest_until`.
    """

    shaping: str
    pages: bytes
    pages_to_decode: tuple[int, ...]
    rejected_rows: RowDigests
    rows_to_decode: RowDigests
    plays_landed: int
    unknown_fields: Counter[str]
    rows_with_unknown_fields: int
    newest_updated_at: datetime | None
    newest_rows: int
    latest: datetime
    newest_until: datetime


@dataclass(frozen=True)
class PublishedSnapshot:
    """The last published snapshot of an endpoint, and the number of its published rows that are not removed."""

    batch_id: str
    digests: SnapshotDigests
    live_rows: int


@dataclass(frozen=True)
class RawRow:
    """A row of a landing. `position` counts from 1 over the snapshot."""

    position: int
    text: bytes


@dataclass(frozen=True)
class RawChanges:
    """The difference between a snapshot and the published snapshot, by bytes.

    `rows_unchanged` is the number of recognised rows. `new` are the other rows of the snapshot, which must be decoded.
    `outdated` and `outdated_rejected` are texts of published rows that the new snapshot does not repeat: accepted and
    rejected rows.
    """

    pages: bytes
    new: Sequence[RawRow]
    outdated: Sequence[bytes]
    outdated_rejected: Sequence[bytes]
    rows_unchanged: int


def shaping_digest(filter_digest: str) -> str:
    """A digest of all that decides what a raw row becomes: code, packages, schema and row filter."""
    return hashlib.blake2b(f"{_code_digest()} {filter_digest}".encode(), digest_size=16).hexdigest()


@cache
def _code_digest() -> str:
    digest = hashlib.blake2b(newest_migration().encode(), digest_size=16)
    for name in _SHAPING_MODULES:
        digest.update(Path(str(import_module(name).__file__)).read_bytes())
    for package in _SHAPING_PACKAGES:
        digest.update(importlib.metadata.version(package).encode())
    return digest.hexdigest()


def page_digest(body: bytes) -> bytes:
    """A digest of the rows of a page. Total and page number do not count, because they change with other pages."""
    try:
        return xxhash.xxh3_128_digest(_ITEMS_DECODER.decode(body).items)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return xxhash.xxh3_128_digest(b"\n".join(raw_rows(body)))


def row_digests(texts: Iterable[bytes]) -> RowDigests:
    """A digest of 64 bits of each row."""
    return np.fromiter(map(xxhash.xxh3_64_intdigest, texts), dtype=np.uint64)


def digests_at(landing: Landing, positions: Iterable[int]) -> tuple[tuple[int, ...], RowDigests]:
    """The pages of the rows at these positions, and the digests of the rows. All pages but the last are full."""
    indexes_by_page: dict[int, list[int]] = {}
    for position in positions:
        page, index = divmod(position - 1, landing.size)
        indexes_by_page.setdefault(page + 1, []).append(index)
    texts: list[bytes] = []
    for number, body in landing.numbered_pages(indexes_by_page.keys()):
        rows = raw_rows(body)
        texts += [rows[index] for index in indexes_by_page[number]]
    return tuple(sorted(indexes_by_page)), row_digests(texts)


def find_raw_changes(landing: Landing, published: SnapshotDigests, published_landing: Landing) -> RawChanges | None:
    """Compare a snapshot with the published one. None if they cannot be compared, or too many rows changed.

    Raises LandingError if the snapshot cannot be read.
    """
    pages = b"".join(page_digest(body) for _, body in landing.numbered_pages())
    changed_pages, outdated_pages = _pages_to_compare(_split_digests(pages), published)
    most_rows = max(_ROWS_ALWAYS_COMPARED, int(_MAX_CHANGED_SHARE * landing.rows))
    outdated_rows = _OutdatedRows.read(published, published_landing, outdated_pages)
    if outdated_rows is None:
        return None
    new: list[RawRow] = []
    for number, body in landing.numbered_pages(changed_pages):
        texts = raw_rows(body)
        if len(texts) != landing.size and number != landing.pages:
            return None
        indexes = outdated_rows.find_new_rows(row_digests(texts))
        if indexes is None:
            return None
        offset = (number - 1) * landing.size
        new += [RawRow(offset + index + 1, texts[index]) for index in indexes]
        if len(new) > most_rows:
            return None
    if outdated_rows.remaining > most_rows:
        return None
    return RawChanges(pages, new, *outdated_rows.texts(), landing.rows - len(new))


def _split_digests(pages: bytes) -> list[bytes]:
    return [pages[start : start + PAGE_DIGEST_BYTES] for start in range(0, len(pages), PAGE_DIGEST_BYTES)]


def _pages_to_compare(pages: Sequence[bytes], published: SnapshotDigests) -> tuple[list[int], list[int]]:
    """The numbers of the pages to compare row by row: of the snapshot, and of the published one."""
    published_pages = _split_digests(published.pages)
    counts, published_counts = Counter(pages), Counter(published_pages)
    not_recognised = {published_pages[number - 1] for number in published.pages_to_decode}

    def to_compare(digest: bytes) -> bool:
        return counts[digest] != 1 or published_counts[digest] != 1 or digest in not_recognised

    return (
        [number for number, digest in enumerate(pages, 1) if to_compare(digest)],
        [number for number, digest in enumerate(published_pages, 1) if to_compare(digest)],
    )


class _OutdatedRows:
    """The rows of some published pages. A row that the snapshot repeats is marked as seen; the others are outdated."""

    def __init__(self, published: SnapshotDigests, landing: Landing, pages: list[tuple[int, RowDigests]]) -> None:
        self._published = published
        self._landing = landing
        self._pages = pages
        digests = np.concatenate([rows for _, rows in pages]) if pages else np.empty(0, dtype=np.uint64)
        self._order = np.argsort(digests, kind="stable")
        self._sorted = digests[self._order]
        self._seen = np.zeros(len(digests), dtype=bool)  # in the order of the digests
        # Rows that are decoded even if the snapshot has them too.
        self._special = np.unique(np.concatenate([published.rejected_rows, published.rows_to_decode]))

    @classmethod
    def read(cls, published: SnapshotDigests, landing: Landing, numbers: list[int]) -> _OutdatedRows | None:
        """Read the pages. None if a page differs from the published one, or two rows are equal that are not special."""
        expected = _split_digests(published.pages)
        pages: list[tuple[int, RowDigests]] = []
        for number, body in landing.numbered_pages(numbers):
            if page_digest(body) != expected[number - 1]:
                return None
            pages.append((number, row_digests(raw_rows(body))))
        if len(pages) != len(numbers):
            return None
        rows = cls(published, landing, pages)
        equal = rows._sorted[1:][rows._sorted[1:] == rows._sorted[:-1]]
        return rows if bool(np.isin(equal, rows._special).all()) else None

    def find_new_rows(self, digests: RowDigests) -> list[int] | None:
        """Mark the rows with these digests as seen. Returns the indexes of the others.

        None if a row is seen twice: its copies share a key.
        """
        places = np.searchsorted(self._sorted, digests)
        places[places == len(self._sorted)] = 0
        is_equal = self._sorted[places] == digests if len(self._sorted) else np.zeros(len(digests), dtype=bool)
        is_seen = is_equal & ~np.isin(digests, self._special)
        seen = places[is_seen]
        if bool(self._seen[seen].any()) or len(np.unique(seen)) < len(seen):
            return None
        self._seen[seen] = True
        return list(map(int, np.flatnonzero(~is_seen)))

    @property
    def remaining(self) -> int:
        """The number of rows that were not seen."""
        return int((~self._seen).sum())

    def texts(self) -> tuple[list[bytes], list[bytes]]:
        """The texts of the rows that were not seen: those that the published snapshot accepted, then the rejected."""
        unseen = np.zeros(len(self._seen), dtype=bool)
        unseen[self._order[~self._seen]] = True
        indexes_by_page: dict[int, list[int]] = {}
        start = 0
        for number, digests in self._pages:
            indexes = np.flatnonzero(unseen[start : start + len(digests)])
            if len(indexes):
                indexes_by_page[number] = list(map(int, indexes))
            start += len(digests)
        texts: list[bytes] = []
        for number, body in self._landing.numbered_pages(indexes_by_page.keys()):
            rows = raw_rows(body)
            texts += [rows[index] for index in indexes_by_page[number]]
        is_rejected = np.isin(row_digests(texts), self._published.rejected_rows)
        return (
            [text for text, rejected in zip(texts, is_rejected, strict=True) if not rejected],
            [text for text, rejected in zip(texts, is_rejected, strict=True) if rejected],
        )


@readable_errors()
def find_published_snapshot(connection: Connection, endpoint: Endpoint) -> PublishedSnapshot | None:
    """The last published snapshot, or None if it is not recorded, or the published rows changed since."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(
            load_query("ops/published_snapshots.find_published_snapshot"), {"endpoint": endpoint}
        ).fetchone()
    if row is None or _state_of_rows(connection, endpoint) != (row["live_rows"], row["live_rows_digest"]):
        return None
    digests = SnapshotDigests(
        shaping=row["shaping"],
        pages=row["pages"],
        pages_to_decode=tuple(row["pages_to_decode"]),
        rejected_rows=np.frombuffer(row["rejected_rows"], dtype=np.uint64),
        rows_to_decode=np.frombuffer(row["rows_to_decode"], dtype=np.uint64),
        plays_landed=row["plays_landed"],
        unknown_fields=Counter(json.loads(row["unknown_fields"])),
        rows_with_unknown_fields=row["rows_with_unknown_fields"],
        newest_updated_at=row["newest_updated_at"],
        newest_rows=row["newest_rows"],
        latest=row["latest"],
        newest_until=row["newest_until"],
    )
    return PublishedSnapshot(row["batch_id"], digests, row["live_rows"])


def save_published_snapshot(
    connection: Connection, endpoint: Endpoint, batch_id: str, digests: SnapshotDigests | None
) -> None:
    """Record what recognises the rows of the published batch. Call it in the transaction that publishes the batch.

    Without digests, the next snapshot is decoded completely.
    """
    connection.execute(load_query("ops/published_snapshots.delete_published_snapshot"), {"endpoint": endpoint})
    if digests is None:
        return
    live_rows, live_rows_digest = _state_of_rows(connection, endpoint)
    values: dict[str, Any] = vars(digests) | {
        "endpoint": endpoint,
        "batch_id": batch_id,
        "pages_to_decode": list(digests.pages_to_decode),
        "rejected_rows": digests.rejected_rows.tobytes(),
        "rows_to_decode": digests.rows_to_decode.tobytes(),
        "unknown_fields": json.dumps(digests.unknown_fields),  # as text: a name may hold a NUL
        "live_rows": live_rows,
        "live_rows_digest": live_rows_digest,
    }
    connection.execute(load_query("ops/published_snapshots.insert_published_snapshot"), values)


def _state_of_rows(connection: Connection, endpoint: Endpoint) -> tuple[int, int]:
    """The number of the published rows that are not removed, and a digest of their ids and contents."""
    query = compose_query(
        "ops/published_snapshots.digest_live_rows",
        table=("warehouse", endpoint),
        key=ENDPOINTS[endpoint].id_field,
    )
    row = connection.execute(query).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)
