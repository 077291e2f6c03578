"""Files of raw pages: compressed, one page per line, as the API sent them. They are written atomically."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

import zstandard

from core.errors import DamagedPages, LandingError
from core.file_store import FileStore


def write_pages(store: FileStore, name: str, bodies: Sequence[bytes]) -> None:
    """Write the bodies of pages to a file. Raises OSError, ObjectStoreError."""
    # JSON has line breaks only between tokens, so replacing them does not change its meaning.
    lines = b"\n".join(body.replace(b"\r", b" ").replace(b"\n", b" ") for body in bodies)
    store.write(name, zstandard.ZstdCompressor(level=1, write_checksum=True).compress(lines), durable=True)


def read_pages(store: FileStore, name: str) -> list[bytes]:
    """The bodies of the pages in a file.

    Raises LandingError if it cannot be read, DamagedPages if it is damaged, ObjectStoreError.
    """
    try:
        return zstandard.ZstdDecompressor().decompress(store.read(name)).split(b"\n")
    except (OSError, zstandard.ZstdError) as error:
        is_damaged = isinstance(error, zstandard.ZstdError) or error.errno == errno.EIO
        error_type = DamagedPages if is_damaged else LandingError
        raise error_type(
            f"raw pages cannot be read back from {store.location_of(name)}: {error}; fetch the day again (--refresh)"
        ) from error


def make_private_folder(folder: Path) -> None:
    """Create a folder that only this user can open, because it will hold names and e-mail addresses."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
