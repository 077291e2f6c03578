"""Temporary files are in DATA_DIR, and sockets in a folder that belongs to the user."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from core import temporary_files
from core.errors import SettingsError
from core.temporary_files import keep_temporary_files_in, make_socket_folder, socket_folder
from tests.conftest import TEMPORARY_FOLDER


@pytest.fixture(autouse=True)
def _short_path(shared_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary_files, "_SHORT", shared_folder)


def test_temporary_files_of_this_process_and_its_children_are_in_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", tempfile.gettempdir())
    monkeypatch.setenv("TMPDIR", "/shared-by-all-users")
    keep_temporary_files_in(tmp_path)
    assert tempfile.gettempdir() == str(tmp_path / "tmp")
    code = "import tempfile; print(tempfile.gettempdir())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == str(tmp_path / "tmp")
    assert (tmp_path / "tmp").stat().st_mode & 0o777 == 0o700


@pytest.fixture(scope="module")
def _shared_command(tmp_path_factory: pytest.TempPathFactory) -> None:
    keep_temporary_files_in(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def folders_after_a_command(_shared_command: None) -> tuple[str, str]:
    return os.environ["TMPDIR"], tempfile.gettempdir()


def test_command_of_a_shared_fixture_does_not_change_the_folder_of_the_next(
    folders_after_a_command: tuple[str, str],
) -> None:
    assert folders_after_a_command == (TEMPORARY_FOLDER, TEMPORARY_FOLDER)


def test_sockets_are_in_the_folder_itself_if_its_path_allows(tmp_path: Path) -> None:
    assert socket_folder(Path("/data/services")) == Path("/data/services")


@pytest.mark.parametrize("name", ["long" * 50, "with space", "100%", "it's", 'a"b', "a?b"])
def test_sockets_of_other_folders_are_in_a_private_folder_with_the_same_path_in_every_shell(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = socket_folder(tmp_path / name)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert socket_folder(tmp_path / name) == folder != socket_folder(tmp_path / f"{name}2")
    make_socket_folder(folder)
    make_socket_folder(folder)
    assert folder.parent.stat().st_mode & 0o777 == folder.stat().st_mode & 0o777 == 0o700
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "supervisor.sock.1234567"))


@pytest.mark.parametrize("defect", ["open to others", "a link", "a file", "another user's"])
def test_a_folder_that_another_user_prepared_is_refused(defect: str, tmp_path: Path) -> None:
    parent = temporary_files._SHORT / f"moovitamix-{os.geteuid()}"
    if defect == "a link":
        parent.symlink_to(tmp_path)
    elif defect == "a file":
        parent.write_text("")
    else:
        parent.mkdir()
        parent.chmod(0o777 if defect == "open to others" else 0o755)
    if defect == "another user's":
        if os.geteuid() != 0:
            pytest.skip("only root can give a folder away")
        os.chown(parent, 65_534, 65_534)
    with pytest.raises(SettingsError, match=r"not a private folder of this user; delete it, or choose a DATA_DIR"):
        socket_folder(tmp_path / "with space")
