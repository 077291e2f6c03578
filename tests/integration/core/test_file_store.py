"""Folders and object stores keep files alike."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from core.clock import utc_now
from core.errors import ObjectStoreError, ObjectStoreUnavailable
from core.file_store import FileStore, FolderStore
from tests.object_stores import SECRET, Bucket, unreliable_link


@pytest.fixture(params=["folder", "object store"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore:
    if request.param == "folder":
        return FolderStore(tmp_path / "new" / "folder")
    bucket: Bucket = request.getfixturevalue("bucket")
    return bucket.store("some/path")


def names(store: FileStore, folder: str = "") -> list[str]:
    return [file.name for file in store.files(folder)]


def test_store_keeps_lists_replaces_and_deletes_files(store: FileStore) -> None:
    assert names(store) == names(store, "missing") == []
    with pytest.raises(FileNotFoundError):
        store.read("a/b")
    with pytest.raises(FileNotFoundError), store.local_copy("a/b") as path:
        path.read_bytes()
    store.delete("a/b")
    store.delete_folder("a")

    store.write("a/b", "é")
    before = store.files()[0].version
    store.write("a/b", b"longer", durable=True)
    store.write("ab", b"")
    store.write("a/c/é d%#", b"1")

    assert names(store) == ["a/b", "a/c/é d%#", "ab"]
    assert names(store, "a") == ["a/b", "a/c/é d%#"]
    first = store.files()[0]
    assert (first.size, first.version != before) == (6, True)
    assert abs(utc_now() - first.modified_at) < timedelta(minutes=5)
    assert store.read("a/b") == b"longer"
    assert list(store.folders(depth=1)) == ["a"]
    assert list(store.folders(depth=2)) == ["a/c"]
    store.delete("ab")
    store.delete_folder("a/c")
    assert names(store) == ["a/b"]


def test_file_of_several_requests_is_stored_only_if_its_writer_succeeds(store: FileStore) -> None:
    content = b"0123456789abcdef" * (1 << 20)
    with store.new_file("models/large") as path:
        path.write_bytes(content)
        assert names(store) == []
    with suppress(RuntimeError), store.new_file("models/failed") as path:
        path.write_bytes(b"half")
        raise RuntimeError

    assert names(store) == ["models/large"]
    with store.local_copy("models/large") as path:
        assert path.read_bytes() == content


def test_lost_answers_change_nothing(bucket: Bucket) -> None:
    lost: set[tuple[str, str]] = set()

    def lose_first_answer(method: str, path: str) -> str:
        is_first = (method, path) not in lost
        lost.add((method, path))
        return "lose the answer" if is_first else "answer"

    with unreliable_link(bucket.endpoint) as link:
        link.treatment = lose_first_answer  # type: ignore[assignment]
        store = bucket.store(endpoint=link.url)
        store.write("a", b"1")
        store.delete("b")
        assert store.read("a") == b"1"
        assert names(store) == ["a"]
    assert {method for method, _ in lost} == {"PUT", "POST", "GET"}


def test_object_store_that_does_not_answer_gives_one_line(bucket: Bucket) -> None:
    with unreliable_link(bucket.endpoint) as link:
        link.treatment = lambda _method, _path: "refuse"
        store = bucket.store("landing", endpoint=link.url, retry_seconds=0.5)
        with pytest.raises(ObjectStoreUnavailable, match=r"does not answer for 0\.5 s") as refusal:
            store.write("a", b"1")
        with pytest.raises(ObjectStoreUnavailable, match="it refuses the connection"):
            bucket.store("landing", endpoint="http://127.0.0.1:1", retry_seconds=0.2).read("a")
    assert link.url in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert SECRET not in repr(store) + str(refusal.value)


def test_missing_bucket_is_no_empty_store(bucket: Bucket) -> None:
    store = Bucket(bucket.endpoint, "missing-bucket").store("landing")
    for use in (lambda: store.read("a"), lambda: store.write("a", b""), store.files):
        with pytest.raises(ObjectStoreError, match="the bucket of s3://missing-bucket/landing does not exist"):
            use()
