"""Every command reports wrong settings in one line, and prints commands that can be pasted."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from core.settings import Settings
from services.__main__ import _data_dir, _make
from services.local_services import LocalServices, Ports, PrefectCredentials
from tests.ordinary_user import ROOT, bare_environment, folder_of_ordinary_user, python_as

COMMANDS = (
    "services up",
    "services.backup make",
    "core.embedded_postgres --url",
    "core.migrate",
    "serving.keys list",
    "notifications.watchdog --once",
    "flows.ingest",
    "demo",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_read_only_data_folder_is_one_line(command: str, shared_folder: Path) -> None:
    data_dir = folder_of_ordinary_user(shared_folder / "read only")
    data_dir.chmod(0o500)
    result = subprocess.run(
        [*python_as(65_534), "-m", *command.split()],
        cwd=ROOT,
        env=bare_environment(DATA_DIR=str(data_dir)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("\n") == 1
    assert f"DATA_DIR cannot be used, '{data_dir}' cannot be written: Permission denied" in result.stderr


def test_consumer_starts_where_the_models_are_read_only(shared_folder: Path) -> None:
    """docker-compose.yml mounts them so."""
    data_dir = folder_of_ordinary_user(shared_folder / "read-only models")
    folder_of_ordinary_user(data_dir / "models").chmod(0o500)
    result = subprocess.run(
        [*python_as(65_534), "-m", "streaming"],
        cwd=ROOT,
        env=bare_environment(DATA_DIR=str(data_dir)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "STREAM_BOOTSTRAP_SERVERS is empty" in result.stderr


@pytest.mark.parametrize("command", ["services up", "flows.ingest", "serving.keys list"])
def test_misspelled_setting_is_one_line(command: str, tmp_path: Path) -> None:
    environment = bare_environment(DATA_DIR=str(tmp_path), ALERT_URL="json://u:hunter2@h", THRESHOLD_WARN_GROWHT="2")
    result = subprocess.run(
        [sys.executable, "-m", *command.split()], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "ALERT_URL is no setting, did you mean ALERT_URLS?" in result.stderr
    assert "THRESHOLD_WARN_GROWHT is no setting, did you mean THRESHOLD_WARN_GROWTH?" in result.stderr
    assert "hunter2" not in result.stderr


def test_unreadable_env_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes("RUNBOOK_URL=é".encode("latin-1"))
    environment = bare_environment(DATA_DIR=str(tmp_path / "data"), PYTHONPATH=str(ROOT))
    command = [sys.executable, "-m", "flows.ingest"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (2, "error: wrong setting: .env is not UTF-8 text; save it as UTF-8\n")


@pytest.mark.parametrize("name", ["with space", "$HOME", "it's", 'quo"ted', "a;b&c"])
def test_printed_commands_use_this_data_folder(name: str, tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path / name)  # type: ignore[call-arg]
    services = LocalServices(settings, Ports(_env_file=None), PrefectCredentials(_env_file=None))  # type: ignore[call-arg]
    assert shlex.split(_make("down", services)) == ["make", "down", f"DATA_DIR={tmp_path / name}"]
    assert shlex.split(_data_dir(services)) == [f"DATA_DIR={tmp_path / name}"]

    recipe = "--eval=print-data-dir: ; @printf '%s' \"$$DATA_DIR\""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    for arguments in ([f"DATA_DIR={tmp_path / name}"], []):
        printed = subprocess.run(
            ["make", "--silent", recipe, "print-data-dir", *arguments],
            cwd=ROOT,
            env=environment | ({} if arguments else {"DATA_DIR": str(tmp_path / name)}),
            capture_output=True,
            text=True,
            check=True,
        )
        assert printed.stdout == str(tmp_path / name)


def test_no_documented_command_kills_processes_by_name() -> None:
    """It would kill processes of other clones and users too."""
    pages = [ROOT / "README.md", ROOT / "Makefile", *(ROOT / "docs").rglob("*.md"), *(ROOT / ".ci").rglob("*.*")]
    texts = {page.name: page.read_text() for page in pages if page.is_file() and "__pycache__" not in page.parts}
    names = [name for name, text in texts.items() if re.search(r"\b(pkill|killall|pgrep|fuser)\b", text)]
    assert names == []
