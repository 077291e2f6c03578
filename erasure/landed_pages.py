"""Removes the rows of a user from raw pages. Each affected file is rewritten atomically."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.data_layout import DataLayout
from core.endpoints import ENDPOINTS, USERS, Endpoint
from core.errors import DamagedPages, LandingError
from core.file_store import FileStore
from erasure.subject_matching import UserIdentity, rows_of_user
from pipeline import landing
from pipeline.extraction import page_files
from pipeline.raw_pages import read_pages, write_pages
from pipeline.row_filter import RowFilter, remove_rows


@dataclass(frozen=True)
class PageFile:
    """A file that holds rows of the user, and their number."""

    name: str
    endpoint: Endpoint
    rows: int


@dataclass(frozen=True)
class AffectedFiles:
    """The files with rows of the user. `damaged` has the number of unreadable files of each landing."""

    files: list[PageFile]
    damaged: Counter[str]


def collect_identity(store: FileStore, identity: UserIdentity) -> UserIdentity:
    """Add the e-mail addresses and names that raw pages of /users hold of the user. Raises LandingError."""
    for name in page_files(store, USERS):
        try:
            rows = [row for body in read_pages(store, name) for row in rows_of_user(USERS, body, identity)]
        except DamagedPages:
            continue
        details = [tuple(str(row.get(field) or "") for field in ("email", "first_name", "last_name")) for row in rows]
        identity = identity.with_details(details)  # type: ignore[arg-type]
    return identity


def find_affected_files(store: FileStore, row_filter: RowFilter) -> AffectedFiles:
    """The files that hold rows of the user. Deletes unfinished files, which may hold some. Raises LandingError."""
    files: list[PageFile] = []
    damaged: Counter[str] = Counter()
    with _readable_errors(store, ""):
        folders = list(store.folders(depth=2))
    for endpoint in (name for name, specification in ENDPOINTS.items() if specification.is_personal):
        with _readable_errors(store, endpoint):
            for folder in folders:
                if folder.startswith(f"{endpoint}/"):
                    store.delete_unfinished(folder)
            names = page_files(store, endpoint)
        for name in names:
            try:
                rows = _count_rows(store, name, endpoint, row_filter)
            except DamagedPages:
                damaged[name.rpartition("/")[0]] += 1
            else:
                files += [PageFile(name, endpoint, rows)] if rows else []
    return AffectedFiles(files, damaged)


def delete_landing(store: FileStore, folder: str) -> None:
    """Delete a landing with unreadable pages. They may hold rows of the user, and the batch cannot be replayed.

    Raises LandingError.
    """
    with _readable_errors(store, folder):
        landing.delete_folder(store, folder)


def rewrite_file(store: FileStore, file: PageFile, row_filter: RowFilter) -> None:
    """Replace the rows of the user in a file by placeholders. A second call changes nothing. Raises LandingError."""
    bodies = [remove_rows(file.endpoint, body, row_filter)[0] for body in read_pages(store, file.name)]
    with _readable_errors(store, file.name):
        write_pages(store, file.name, bodies)


def delete_transformed(data_dir: Path) -> int:
    """Delete transformed batches that a killed run left behind. Returns their number.

    A run creates them again from raw pages.
    """
    folders = [folder for folder in DataLayout(data_dir).shaped.glob("*") if folder.is_dir()]
    for folder in folders:
        shutil.rmtree(folder)
    return len(folders)


def _count_rows(store: FileStore, name: str, endpoint: Endpoint, row_filter: RowFilter) -> int:
    """The number of rows in a file that the filter matches."""
    return sum(remove_rows(endpoint, body, row_filter)[1] for body in read_pages(store, name))


@contextmanager
def _readable_errors(store: FileStore, name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LandingError(
            f"raw pages in {store.location_of(name)} cannot be written: {error.strerror or error}; run it again"
        ) from error
