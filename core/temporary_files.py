"""Keeps temporary files and sockets in DATA_DIR, so that users of one machine never share a folder."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from pathlib import Path

from core.data_layout import DataLayout
from core.errors import SettingsError

# In bytes. The path of a socket has at most 103 bytes on some systems, and its name in the folder up to 24.
_SOCKET_FOLDER_LIMIT = 79
_WITHOUT_QUOTING = re.compile(r"[\w/.-]+")
# Every shell, service and cron job of a user sees the same path, unlike TMPDIR and XDG_RUNTIME_DIR.
_SHORT = Path("/tmp")  # noqa: S108, _must_be_private checks the owner of the folder in it


def keep_temporary_files_in(data_dir: Path) -> None:
    """Make this process and its children use `data_dir/tmp` for temporary files. Raises SettingsError."""
    folder = DataLayout(data_dir).temporary_files
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"wrong setting: DATA_DIR: {str(folder)!r} cannot be created: {error.strerror}") from None
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = str(folder)


def socket_folder(folder: Path) -> Path:
    """The folder for the sockets of `folder`: itself, or a short path if its own is too long or needs quoting in URLs.

    Raises SettingsError if another user owns the short path.
    """
    path = str(folder)
    if len(os.fsencode(path)) <= _SOCKET_FOLDER_LIMIT and _WITHOUT_QUOTING.fullmatch(path):
        return folder
    parent = _SHORT / f"moovitamix-{os.geteuid()}"
    if os.path.lexists(parent):
        _must_be_private(parent, folder)
    return parent / hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def make_socket_folder(folder: Path) -> None:
    """Create the result of `socket_folder`. Raises OSError, SettingsError."""
    if folder.parent.parent == _SHORT and folder.parent.name.startswith("moovitamix-"):
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        _must_be_private(folder.parent, folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _must_be_private(parent: Path, folder: Path) -> None:
    """Refuse the folder of another user, who could answer in place of our programs. Raises SettingsError."""
    state = parent.lstat()
    is_shared = state.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid() or is_shared:
        raise SettingsError(
            f"wrong setting: sockets of DATA_DIR would be in {parent}, which is not a private folder of this user; "
            f"delete it, or choose a DATA_DIR with a shorter path than {str(folder)!r} of letters, digits and ._-/"
        )
