from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import pytest

from core.file_locks import exclusive_lock, shared_lock

_HOLD = (
    "import sys; from pathlib import Path; from core.file_locks import exclusive_lock;"
    " lock = exclusive_lock(Path(sys.argv[1])); print('locked', flush=True); sys.stdin.read()"
)


def test_an_exclusive_lock_excludes_all_locks(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with exclusive_lock(path):
        for lock in (exclusive_lock, shared_lock):
            with pytest.raises(BlockingIOError):
                lock(path, wait_seconds=0)
    with exclusive_lock(path, wait_seconds=0):
        pass
    assert path.stat().st_mode & 0o777 == 0o600


def test_shared_locks_exclude_exclusive_ones_only(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first, second = shared_lock(path), shared_lock(path, wait_seconds=0)
    first.release()
    with pytest.raises(BlockingIOError):
        exclusive_lock(path, wait_seconds=0)
    second.release()
    exclusive_lock(path, wait_seconds=0).release()


def test_a_folder_can_be_locked(tmp_path: Path) -> None:
    with exclusive_lock(tmp_path):
        with pytest.raises(BlockingIOError):
            exclusive_lock(tmp_path, wait_seconds=0)
        assert list(tmp_path.iterdir()) == []


def test_second_release_closes_no_other_file(tmp_path: Path) -> None:
    lock = exclusive_lock(tmp_path)
    lock.release()
    with (tmp_path / "another").open("w") as other_file:  # the system reuses the descriptor
        with pytest.raises(OSError, match="Bad file descriptor"):
            lock.release()
        other_file.write("a line")


@pytest.mark.parametrize("limit", [{}, {"wait_seconds": 60}])
def test_a_lock_is_waited_for(tmp_path: Path, limit: dict[str, float]) -> None:
    lock, acquired = exclusive_lock(tmp_path), []
    waiting = Thread(target=lambda: acquired.append(exclusive_lock(tmp_path, **limit)))
    waiting.start()
    time.sleep(0.3)
    assert acquired == []
    lock.release()
    waiting.join(60)
    (lock,) = acquired
    lock.release()


def test_waiting_ends_after_its_time(tmp_path: Path) -> None:
    with exclusive_lock(tmp_path):
        begin = time.monotonic()
        with pytest.raises(BlockingIOError):
            exclusive_lock(tmp_path, wait_seconds=0.3)
        assert time.monotonic() - begin >= 0.3


def test_a_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        if holder.stdout is not None:
            assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(BlockingIOError):
            exclusive_lock(tmp_path, wait_seconds=0)
        holder.kill()
    exclusive_lock(tmp_path, wait_seconds=30).release()


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        exclusive_lock(tmp_path / "missing" / "lock")
