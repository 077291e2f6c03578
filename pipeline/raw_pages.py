"""Files of raw pages: as they were sent, a page a line, compressed, and written whole or not at all."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

import zstandard

from core.atomic_files import write_atomically
from core.errors import DamagedPages, LandingError


def write_pages(path: Path, bodies: Sequence[bytes]) -> None:
    """Keep the bodies of some pages. Raises OSError."""
    # JSON holds line breaks only between its tokens, so a page fits a line without changing what it says.
    lines = b"\n".join(body.replace(b"\r", b" ").replace(b"\n", b" ") for body in bodies)
    write_atomically(path, zstandard.ZstdCompressor(level=1, write_checksum=True).compress(lines), durable=True)


def read_pages(path: Path) -> list[bytes]:
    """The bodies of some pages. Raises LandingError when the file cannot be read, DamagedPages when it never will."""
    try:
        return zstandard.ZstdDecompressor().decompress(path.read_bytes()).split(b"\n")
    except (OSError, zstandard.ZstdError) as error:
        damaged = isinstance(error, zstandard.ZstdError) or error.errno == errno.EIO
        kind = DamagedPages if damaged else LandingError
        raise kind(f"raw pages cannot be read back from {path}: {error}; fetch the day again (--refresh)") from error


def make_private_folder(folder: Path) -> None:
    """Make a folder that only this user can look into, as it will hold names and e-mails. One that is there stays."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
