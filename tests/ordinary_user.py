"""Running code as a user who is not root, so that file modes apply. Without root rights, the current user is used."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
ORDINARY_USER = 65_534


@contextmanager
def acting_as_ordinary_user(uid: int = ORDINARY_USER) -> Iterator[None]:
    """Give this process the file permissions of that user for the duration of the block."""
    if os.geteuid() != 0:
        yield
        return
    group = os.getegid()
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)


def python_as(uid: int) -> list[str]:
    """The command that starts Python as that user, who can read all files but not write those of root."""
    if os.geteuid() != 0:
        return [sys.executable]
    capability = "+dac_read_search"
    user = ["--reuid", str(uid), "--regid", str(uid), "--clear-groups"]
    flags = ["--securebits", "+no_setuid_fixup"]  # makes the capability effective for access()
    return ["setpriv", *user, f"--inh-caps={capability}", f"--ambient-caps={capability}", *flags, sys.executable]


def bare_environment(**settings: str) -> dict[str, str]:
    """An environment as from cron or systemd: PATH and these settings only."""
    return {"PATH": os.environ["PATH"]} | settings


def folder_of_ordinary_user(folder: Path, uid: int = ORDINARY_USER) -> Path:
    """Create the folder, owned by that user."""
    folder.mkdir(exist_ok=True)
    if os.geteuid() == 0:
        os.chown(folder, uid, uid)
    return folder
