"""Replace small files atomically, and reserve disk space for them."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.atomic_files import write_atomically

_RESERVED_BYTES = 64 * 1024


def reserve(file: Path) -> None:
    """Write a file that is deleted when the disk is full, to get some space. Does nothing if that is impossible."""
    if file.exists():
        return
    try:
        file.write_bytes(os.urandom(_RESERVED_BYTES))  # some file systems store zeros without using space
    except OSError:
        file.unlink(missing_ok=True)


def replace_json(file: Path, content: Any, mode: int) -> None:
    """Replace the content of the file atomically. Raises OSError."""
    text = json.dumps(content, indent=1)
    with suppress(OSError):
        if file.read_text() == text:
            return
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, text, mode=mode)
