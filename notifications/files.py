"""Replace small files atomically, and reserve disk space for them."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

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
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    try:
        with os.fdopen(handle, "w") as unfinished:
            unfinished.write(text)
        os.chmod(name, mode)
        os.replace(name, file)
    except OSError:
        with suppress(OSError):
            os.unlink(name)
        raise
