"""Erasure from raw pages: each endpoint of a store is listed once."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from core.endpoints import Endpoint
from core.file_store import FolderStore, StoredFile
from erasure.landed_pages import PageFile, find_affected_files
from pipeline.raw_pages import write_pages

_BATCHES = ("2026-11-20", "2026-11-21", "2026-11-22")


class CountingStore(FolderStore):
    """Counts listings."""

    listings = 0

    def files(self, folder: str = "") -> list[StoredFile]:
        CountingStore.listings += 1
        return super().files(folder)


class UserOne:
    """Matches the rows of user 1."""

    def matching_ids(self, user_ids: Iterable[int]) -> set[int]:
        return {1} & set(user_ids)

    def matches_row_without_id(self, endpoint: Endpoint, raw: str) -> bool:
        return False


def test_many_landings_of_an_endpoint_are_listed_at_once(tmp_path: Path) -> None:
    store = CountingStore(tmp_path)
    for number, batch in enumerate(_BATCHES, start=1):
        page = {"items": [{"id": number}, {"id": 7}], "total": 2, "page": 1, "size": 2}
        write_pages(store, f"users/{batch}/pages-0000001-0000001-a.jsonl.zst", [json.dumps(page).encode()])
    store.write("users/2026-11-23/pages-0000001-0000001-a.jsonl.zst", b"damaged")
    unfinished = tmp_path / "users" / "2026-11-24" / ".tmp-of-a-killed-process"
    unfinished.parent.mkdir()
    unfinished.write_bytes(b"pages")
    affected = find_affected_files(store, UserOne())
    assert affected.files == [PageFile("users/2026-11-20/pages-0000001-0000001-a.jsonl.zst", "users", 1)]
    assert affected.damaged == {"users/2026-11-23": 1}
    assert not unfinished.exists()
    assert CountingStore.listings == 2, "once for each personal endpoint"
