from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from core import atomic_files
from core.atomic_files import atomic_writer, delete_unfinished_files, unfinished_files, write_atomically


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, "first")
    with atomic_writer(path) as file:
        file.write("second é".encode())
        assert path.read_text() == "first"
    assert path.read_text() == "second é"
    write_atomically(path, b"\x00third")
    assert path.read_bytes() == b"\x00third"
    assert list(tmp_path.iterdir()) == [path]


def _write_half(path: Path, error: BaseException) -> None:
    with atomic_writer(path) as file:
        file.write(b"half")
        raise error


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("no"), KeyboardInterrupt()])
def test_a_failed_write_keeps_the_earlier_file_and_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, "first")
    with pytest.raises(type(error)):
        _write_half(path, error)
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_rename_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder" / "file").mkdir(parents=True)
    with pytest.raises(OSError):
        write_atomically(tmp_path / "folder", "text")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


@pytest.mark.parametrize(("mode", "permissions"), [(None, 0o640), (0o600, 0o600), (0o644, 0o644)])
def test_the_umask_decides_permissions_unless_a_mode_is_given(
    tmp_path: Path, mode: int | None, permissions: int
) -> None:
    umask = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", "text", mode=mode)
    finally:
        os.umask(umask)
    assert (tmp_path / "file").stat().st_mode & 0o777 == permissions


@pytest.mark.parametrize("durable", [True, False])
def test_a_durable_file_is_complete_on_the_disk_before_it_appears_and_its_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    path, synced = tmp_path / "file", []

    def fsync(descriptor: int) -> None:
        state = os.fstat(descriptor)
        synced.append((state.st_ino, path.exists(), None if stat.S_ISDIR(state.st_mode) else state.st_size))

    monkeypatch.setattr(atomic_files.os, "fsync", fsync)
    write_atomically(path, "12345", durable=durable)
    file, folder = (path.stat().st_ino, False, 5), (tmp_path.stat().st_ino, True, None)
    assert synced == ([file, folder] if durable else [])


def test_files_of_killed_writers_are_deleted(tmp_path: Path) -> None:
    for name in (".tmp-killed", ".pages-1.part", "kept", ".lock"):
        (tmp_path / name).touch()
    os.utime(tmp_path / ".tmp-killed", (100, 100))
    assert {path.name for path in unfinished_files(tmp_path)} == {".tmp-killed", ".pages-1.part"}
    delete_unfinished_files(tmp_path, older_than=200)
    assert {path.name for path in tmp_path.iterdir()} == {".pages-1.part", "kept", ".lock"}
    delete_unfinished_files(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"kept", ".lock"}
    delete_unfinished_files(tmp_path / "missing")
