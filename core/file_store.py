"""Storage of files that several machines share: a folder, or an object store such as S3.

`LANDING_URL`, `MODELS_URL`, `BACKUPS_URL` and `DATA_DOCS_URL` choose the place of each kind of files. A name is a path
below that place, with `/` between folders. A file appears whole or not at all, and replaces a file of the same name.
"""

from __future__ import annotations

import math
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from core.atomic_files import delete_unfinished_files, sync_folder, unfinished_file, write_atomically


@dataclass(frozen=True)
class StoredFile:
    """A file of a store. `size` is in bytes; `version` changes with the content."""

    name: str
    size: int
    modified_at: datetime
    version: str


class FileStore(ABC):
    """The place of one kind of files.

    A method raises FileNotFoundError for a missing file, another OSError if a folder cannot be used, and
    ObjectStoreError if an object store refuses a request or does not answer.
    """

    @property
    @abstractmethod
    def location(self) -> str:
        """The folder or URL, for messages. It has no password."""

    def location_of(self, name: str) -> str:
        """The path or URL of a file or folder, for messages."""
        return f"{self.location}/{name}"

    @abstractmethod
    def link_to(self, name: str) -> str:
        """The URL of a file, for people."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content of a file."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether there is a file with this name."""

    @abstractmethod
    def write(self, name: str, content: bytes | str, *, durable: bool = False) -> None:
        """Write a file; text as UTF-8. With `durable`, it survives a crash of the machine once the call returns."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete a file, if it exists."""

    @abstractmethod
    def delete_folder(self, name: str) -> None:
        """Delete a folder with all its files, if it exists."""

    @abstractmethod
    def files(self, folder: str = "") -> list[StoredFile]:
        """The files below a folder, sorted by name, without hidden files. Empty if the folder does not exist."""

    @abstractmethod
    def folders(self, depth: int) -> dict[str, datetime]:
        """The folders at this depth, sorted by name, and when each last changed."""

    @abstractmethod
    def delete_unfinished(self, folder: str = "", older_than: float = math.inf) -> int:
        """Delete unfinished files of killed processes. See `core.atomic_files.delete_unfinished_files`."""

    @abstractmethod
    def local_copy(self, name: str) -> AbstractContextManager[Path]:
        """A file with the same content on this machine during the block. Do not change it."""

    @abstractmethod
    def new_file(self, name: str) -> AbstractContextManager[Path]:
        """A path on this machine to write to. If the block succeeds, the file is stored; else it is deleted."""


@dataclass(frozen=True)
class FolderStore(FileStore):
    """A folder. With `private`, only this user can open it."""

    folder: Path
    private: bool = False

    @property
    def location(self) -> str:
        return str(self.folder)

    def link_to(self, name: str) -> str:
        return self._path(name).absolute().as_uri()

    def read(self, name: str) -> bytes:
        return self._path(name).read_bytes()

    def exists(self, name: str) -> bool:
        return self._path(name).exists()

    def write(self, name: str, content: bytes | str, *, durable: bool = False) -> None:
        new_folders = [folder for folder in (self.folder, *self.folder.parents) if durable and not folder.exists()]
        path = self._new_path(name)
        write_atomically(path, content, mode=self._mode, durable=durable)
        if durable:  # its folders survive too: another process may just have created them
            inside = [folder for folder in path.parent.parents if folder.is_relative_to(self.folder)]
            for folder in (*inside, *(folder.parent for folder in new_folders)):
                sync_folder(folder)

    def delete(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def delete_folder(self, name: str) -> None:
        with suppress(FileNotFoundError):
            shutil.rmtree(self._path(name))

    def files(self, folder: str = "") -> list[StoredFile]:
        stored = []
        for path in sorted(self._path(folder).rglob("*")):
            name = path.relative_to(self.folder)
            with suppress(FileNotFoundError):  # deleted meanwhile
                if path.is_file() and not any(part.startswith(".") for part in name.parts):
                    state = path.stat()
                    changed = datetime.fromtimestamp(state.st_mtime, UTC)
                    stored.append(StoredFile(name.as_posix(), state.st_size, changed, str(state.st_mtime_ns)))
        return stored

    def folders(self, depth: int) -> dict[str, datetime]:
        changes = {}
        for path in sorted(self.folder.glob("/".join("*" * depth))):
            with suppress(FileNotFoundError):  # deleted meanwhile
                if path.is_dir():
                    changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                    changes[path.relative_to(self.folder).as_posix()] = changed
        return changes

    def delete_unfinished(self, folder: str = "", older_than: float = math.inf) -> int:
        return delete_unfinished_files(self._path(folder), older_than)

    @contextmanager
    def local_copy(self, name: str) -> Iterator[Path]:
        yield self._path(name)

    @contextmanager
    def new_file(self, name: str) -> Iterator[Path]:
        with unfinished_file(self._new_path(name)) as path:
            yield path
            if self._mode is not None:
                path.chmod(self._mode)

    def _path(self, name: str) -> Path:
        return self.folder / name

    def _new_path(self, name: str) -> Path:
        path = self._path(name)
        self.folder.mkdir(mode=0o700 if self.private else 0o777, parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def _mode(self) -> int | None:
        return 0o600 if self.private else None
