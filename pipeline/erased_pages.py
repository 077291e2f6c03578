"""Raw pages without the rows of a listener: the files that have any are written anew, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.columns import USERS, Endpoint
from core.errors import LandingError
from pipeline.belonging import PERSONAL, Identity, rows_of, without
from pipeline.landing import alone
from pipeline.raw_pages import read_pages, write_pages


@dataclass(frozen=True)
class PageFile:
    """A file with rows of the listener."""

    path: Path
    endpoint: Endpoint
    rows: int


def learn(data_dir: Path, identity: Identity) -> Identity:
    """The listener with every e-mail and name that raw pages of /users have of them. Raises LandingError."""
    for _, path in _files(data_dir, USERS):
        rows = [row for body in read_pages(path) for row in rows_of(USERS, body, identity)]
        told = [tuple(str(row.get(name) or "") for name in ("email", "first_name", "last_name")) for row in rows]
        identity = identity.learned_from(told)  # type: ignore[arg-type]
    return identity


def find(data_dir: Path, identity: Identity, wait_seconds: float) -> list[PageFile]:
    """Every file that has rows of the listener. Waits for a run that is still writing pages.

    Raises LandingError, AlreadyRunning.
    """
    found = []
    for endpoint in PERSONAL:
        for folder in _folders(data_dir, endpoint):
            with _held(folder, wait_seconds):
                for path in sorted(folder.glob("pages-*.jsonl.zst")):
                    rows = sum(
                        without(endpoint, body, identity.among, identity.is_borne_by)[1] for body in read_pages(path)
                    )
                    found += [PageFile(path, endpoint, rows)] if rows else []
    return found


def rewrite(file: PageFile, identity: Identity, wait_seconds: float) -> None:
    """Put rows that only say that they are erased in place of the listener's. Running it again changes nothing.

    Raises LandingError, AlreadyRunning.
    """
    with _held(file.path.parent, wait_seconds):
        bodies = [
            without(file.endpoint, body, identity.among, identity.is_borne_by)[0] for body in read_pages(file.path)
        ]
        write_pages(file.path, bodies)


def forget_shaped(data_dir: Path) -> int:
    """Delete what a killed run left of shaped batches: it is made again from raw pages. Returns how many there were."""
    folders = [folder for folder in (data_dir / "shaped").glob("*") if folder.is_dir()]
    for folder in folders:
        shutil.rmtree(folder)
    return len(folders)


def _folders(data_dir: Path, endpoint: Endpoint) -> list[Path]:
    return sorted(path for path in (data_dir / "landing" / endpoint).glob("*") if path.is_dir())


def _files(data_dir: Path, endpoint: Endpoint) -> Iterator[tuple[Path, Path]]:
    for folder in _folders(data_dir, endpoint):
        for path in sorted(folder.glob("pages-*.jsonl.zst")):
            yield folder, path


@contextmanager
def _held(folder: Path, wait_seconds: float) -> Iterator[None]:
    """Keep others out of the folder, and clear away files that were never finished."""
    try:
        with alone(folder, wait_seconds):
            for unfinished in folder.glob(".*.part"):
                unfinished.unlink(missing_ok=True)
            yield
    except OSError as error:
        raise LandingError(
            f"raw pages in {folder} cannot be written: {error.strerror or error}; run it again"
        ) from error
