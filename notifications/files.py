"""Small files that are replaced as a whole, and a little room that is held for when the disk is full."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

_RESERVED_BYTES = 64 * 1024


def reserve(file: Path) -> None:
    """Hold some room; without effect when it is held, or there is none."""
    if file.exists():
        return
    try:
        file.write_bytes(os.urandom(_RESERVED_BYTES))  # zeros may take no room
    except OSError:
        file.unlink(missing_ok=True)


def replace_json(file: Path, content: Any, mode: int) -> None:
    """Put the content into the file, all or nothing. Raises OSError."""
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
