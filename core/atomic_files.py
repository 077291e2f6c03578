"""Write files whole or not at all: write a temporary file in the same folder, then rename it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

# Earlier versions named unfinished pages `.<name>.part`.
_TEMPORARY_NAMES = (".tmp-*", ".*.part")


@contextmanager
def atomic_writer(path: Path, *, mode: int | None = None, durable: bool = False) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces `path` when the block succeeds, and is deleted when it fails.

    `mode` is the permissions of the file, whatever the umask; without it, the umask decides. With `durable`, the
    content is synced before the rename, and the folder after it, so the file survives a power failure once the block
    has ended. Raises OSError.
    """
    with unfinished_file(path) as temporary_path:
        descriptor = os.open(temporary_path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666 if mode is None else mode)
        with os.fdopen(descriptor, "w+b") as file:
            if mode is not None:
                os.fchmod(descriptor, mode)
            yield file
            if durable:
                file.flush()
                os.fsync(descriptor)
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Sync the entries of the folder to the disk (fsync). Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def unfinished_file(path: Path) -> Iterator[Path]:
    """Yield a path in the same folder to write to. Its file replaces `path` when the block succeeds, or is deleted.

    Raises OSError.
    """
    temporary_path = path.with_name(f".tmp-{uuid4().hex}")
    try:
        yield temporary_path
        temporary_path.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary_path.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: bytes | str, *, mode: int | None = None, durable: bool = False) -> None:
    """Write a file whole or not at all; text as UTF-8. Raises OSError."""
    with atomic_writer(path, mode=mode, durable=durable) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def unfinished_files(folder: Path) -> Iterator[Path]:
    """The temporary files in a folder: those of running writers, and those of killed processes."""
    for pattern in _TEMPORARY_NAMES:
        yield from folder.glob(pattern)


def delete_unfinished_files(folder: Path, older_than: float = math.inf) -> int:
    """Delete the temporary files in a folder that were last written before `older_than`, in seconds since the epoch.

    Returns their number. Without `older_than`, call it only while no other process writes to the folder. Raises
    OSError.
    """
    deleted = 0
    for path in list(unfinished_files(folder)):
        with suppress(FileNotFoundError):  # its writer has just finished
            if path.stat().st_mtime < older_than:
                path.unlink()
                deleted += 1
    return deleted
