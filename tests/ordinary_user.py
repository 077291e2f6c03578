"""Users who are not root, to whom modes of files apply. When an ordinary user runs the tests, it is that user."""

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
    """This process, as far as files are concerned, for as long as the block lasts."""
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
    """The command that starts Python as that user, who may read all files but write none of root."""
    if os.geteuid() != 0:
        return [sys.executable]
    capability = "+dac_read_search"
    user = ["--reuid", str(uid), "--regid", str(uid), "--clear-groups"]
    kept = ["--securebits", "+no_setuid_fixup"]  # access() sees it too
    return ["setpriv", *user, f"--inh-caps={capability}", f"--ambient-caps={capability}", *kept, sys.executable]


def bare_environment(**settings: str) -> dict[str, str]:
    """What cron and systemd give a program, hardly more than PATH, and the settings."""
    return {"PATH": os.environ["PATH"]} | settings


def folder_of_ordinary_user(folder: Path, uid: int = ORDINARY_USER) -> Path:
    """The folder, made for that user."""
    folder.mkdir(exist_ok=True)
    if os.geteuid() == 0:
        os.chown(folder, uid, uid)
    return folder
