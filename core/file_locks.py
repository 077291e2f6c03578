"""Locks between processes, on a file or folder. The kernel releases a lock when its process ends, even by `kill -9`."""

from __future__ import annotations

import fcntl
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_SECONDS_BETWEEN_TRIES = 0.2


@dataclass
class FileLock:
    """A lock that is held until `release`, the end of its `with` block, or the end of the process."""

    descriptor: int

    def release(self) -> None:
        """Release the lock. Raises OSError if it is released already."""
        # The system reuses the number of a closed descriptor, and a second release must not close another file.
        descriptor, self.descriptor = self.descriptor, -1
        os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def exclusive_lock(path: Path, wait_seconds: float = math.inf) -> FileLock:
    """Lock a file, which is created if needed, or a folder, which must exist.

    Waits up to `wait_seconds` for other holders. Raises BlockingIOError if a holder remains after that, and OSError if
    the file cannot be opened.
    """
    return _lock(path, fcntl.LOCK_EX, wait_seconds)


def shared_lock(path: Path, wait_seconds: float = math.inf) -> FileLock:
    """Lock a file or folder together with other holders of a shared lock. See `exclusive_lock`."""
    return _lock(path, fcntl.LOCK_SH, wait_seconds)


def _lock(path: Path, kind: int, wait_seconds: float) -> FileLock:
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    lock = FileLock(os.open(path, flags, 0o600))
    try:
        _acquire(lock.descriptor, kind, wait_seconds)
    except BaseException:
        lock.release()
        raise
    return lock


def _acquire(descriptor: int, kind: int, wait_seconds: float) -> None:
    if wait_seconds == math.inf:
        fcntl.flock(descriptor, kind)
        return
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_SECONDS_BETWEEN_TRIES)
        else:
            return
