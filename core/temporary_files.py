"""Where temporary files and sockets are: in DATA_DIR, so that users of one machine never share a folder."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from pathlib import Path

from core.data_layout import DataLayout
from core.errors import SettingsError

# The path of a socket has at most 103 bytes on some systems; names in the folder take up to 24 of them.
_SOCKET_FOLDER_LIMIT = 79
_WITHOUT_QUOTING = re.compile(r"[\w/.-]+")
# The same for every shell, service and cron job of a user, unlike TMPDIR and XDG_RUNTIME_DIR.
_SHORT = Path("/tmp")  # noqa: S108, the folder in it belongs to the user, which is checked


def keep_temporary_files_in(data_dir: Path) -> None:
    """From now on this process and its children make temporary files in `data_dir/tmp`. Raises SettingsError."""
    folder = DataLayout(data_dir).temporary_files
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"wrong setting: DATA_DIR: {str(folder)!r} cannot be made: {error.strerror}") from None
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = str(folder)


def socket_folder(folder: Path) -> Path:
    """Where sockets of the folder are: there, or elsewhere if its path is too long for them or needs quoting in URLs.

    Raises SettingsError if somebody else made that other folder.
    """
    path = str(folder)
    if len(os.fsencode(path)) <= _SOCKET_FOLDER_LIMIT and _WITHOUT_QUOTING.fullmatch(path):
        return folder
    parent = _SHORT / f"moovitamix-{os.geteuid()}"
    if os.path.lexists(parent):
        _must_be_private(parent, folder)
    return parent / hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def make_socket_folder(folder: Path) -> None:
    """Make what `socket_folder` named. Raises OSError, SettingsError."""
    if folder.parent.parent == _SHORT and folder.parent.name.startswith("moovitamix-"):
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        _must_be_private(folder.parent, folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _must_be_private(parent: Path, folder: Path) -> None:
    """Otherwise its owner could answer in place of our programs."""
    state = parent.lstat()
    others_write = state.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid() or others_write:
        raise SettingsError(
            f"wrong setting: sockets of DATA_DIR would be in {parent}, which is not a private folder of this user; "
            f"delete it, or choose a DATA_DIR with a shorter path than {str(folder)!r} of letters, digits and ._-/"
        )
