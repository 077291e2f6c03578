"""Removes the rows of a user from raw pages. Each affected file is rewritten atomically."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.atomic_files import delete_unfinished_files
from core.data_layout import DataLayout
from core.endpoints import ENDPOINTS, USERS, Endpoint
from core.errors import DamagedPages, LandingError
from erasure.subject_matching import UserIdentity, rows_of_user
from pipeline.landing import delete_folder, lock_folder
from pipeline.raw_pages import read_pages, write_pages
from pipeline.row_filter import RowFilter, remove_rows


@dataclass(frozen=True)
class PageFile:
    """A file that holds rows of the user, and their number."""

    path: Path
    endpoint: Endpoint
    rows: int


@dataclass(frozen=True)
class AffectedFiles:
    """The files with rows of the user. `damaged` has the number of unreadable files of each landing."""

    files: list[PageFile]
    damaged: Counter[Path]


def collect_identity(data_dir: Path, identity: UserIdentity) -> UserIdentity:
    """Add the e-mail addresses and names that raw pages of /users hold of the user. Raises LandingError."""
    for path in _files(data_dir, USERS):
        try:
            rows = [row for body in read_pages(path) for row in rows_of_user(USERS, body, identity)]
        except DamagedPages:
            continue
        details = [tuple(str(row.get(name) or "") for name in ("email", "first_name", "last_name")) for row in rows]
        identity = identity.with_details(details)  # type: ignore[arg-type]
    return identity


def find_affected_files(data_dir: Path, row_filter: RowFilter, wait_seconds: float) -> AffectedFiles:
    """The files that hold rows of the user. Waits for a run that is still writing pages.

    Raises LandingError, AlreadyRunning.
    """
    files: list[PageFile] = []
    damaged: Counter[Path] = Counter()
    for endpoint in (name for name, specification in ENDPOINTS.items() if specification.is_personal):
        for folder in _folders(data_dir, endpoint):
            with _locked_folder(folder, wait_seconds):
                for path in _pages(folder):
                    try:
                        rows = _count_rows(path, endpoint, row_filter)
                    except DamagedPages:
                        damaged[folder] += 1
                    else:
                        files += [PageFile(path, endpoint, rows)] if rows else []
    return AffectedFiles(files, damaged)


def delete_landing(folder: Path, wait_seconds: float) -> None:
    """Delete a landing with unreadable pages. They may hold rows of the user, and the batch cannot be replayed.

    Raises LandingError, AlreadyRunning.
    """
    with _locked_folder(folder, wait_seconds):
        delete_folder(folder)


def rewrite_file(file: PageFile, row_filter: RowFilter, wait_seconds: float) -> None:
    """Replace the rows of the user in a file by placeholders. A second call changes nothing.

    Raises LandingError, AlreadyRunning.
    """
    with _locked_folder(file.path.parent, wait_seconds):
        bodies = [remove_rows(file.endpoint, body, row_filter)[0] for body in read_pages(file.path)]
        write_pages(file.path, bodies)


def delete_transformed(data_dir: Path) -> int:
    """Delete transformed batches that a killed run left behind. Returns their number.

    A run creates them again from raw pages.
    """
    folders = [folder for folder in DataLayout(data_dir).shaped.glob("*") if folder.is_dir()]
    for folder in folders:
        shutil.rmtree(folder)
    return len(folders)


def _count_rows(path: Path, endpoint: Endpoint, row_filter: RowFilter) -> int:
    """The number of rows in a file that the filter matches."""
    return sum(remove_rows(endpoint, body, row_filter)[1] for body in read_pages(path))


def _folders(data_dir: Path, endpoint: Endpoint) -> list[Path]:
    return sorted(path for path in (DataLayout(data_dir).landing / endpoint).glob("*") if path.is_dir())


def _files(data_dir: Path, endpoint: Endpoint) -> Iterator[Path]:
    for folder in _folders(data_dir, endpoint):
        yield from _pages(folder)


def _pages(folder: Path) -> list[Path]:
    return sorted(folder.glob("pages-*.jsonl.zst"))


@contextmanager
def _locked_folder(folder: Path, wait_seconds: float) -> Iterator[None]:
    """Hold the lock of the folder, and delete unfinished files in it."""
    try:
        with lock_folder(folder, wait_seconds):
            delete_unfinished_files(folder)
            yield
    except OSError as error:
        raise LandingError(
            f"raw pages in {folder} cannot be written: {error.strerror or error}; run it again"
        ) from error
