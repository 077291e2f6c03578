"""The temporary Prefect server of a command: it ends with its run and leaves no files."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from flows.temporary_prefect_server import _server_of_services
from tests.conftest import ROOT

# A command that starts its server, as a flow does, and then waits.
WAITING_COMMAND = """
import signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, for example, ignores it
from pathlib import Path
from core.tracebacks import hide_tracebacks
from flows.temporary_prefect_server import ensure_prefect_api
hide_tracebacks()
ensure_prefect_api(Path(sys.argv[1]))
print("ready", flush=True)
time.sleep(600)
"""
SECONDS = 600


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder after one command has run."""
    folder = tmp_path_factory.mktemp("first")
    run = start_waiting_command(folder)
    assert run.stdout and run.stdout.readline() == "ready\n"
    run.terminate()
    run.communicate(timeout=SECONDS)
    assert (folder / "prefect" / "prefect.db").exists()
    return folder


@pytest.fixture
def data_dir(template: Path, tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "data"
    (folder / "prefect").mkdir(parents=True)
    shutil.copy(template / "prefect" / "prefect.db", folder / "prefect")
    yield folder
    for server in servers(folder):
        server.kill()


def environment(data_dir: Path) -> dict[str, str]:
    settings = {"DATA_DIR": str(data_dir), "PREFECT_HOME": str(data_dir / "prefect")}
    return {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | settings


def start_waiting_command(data_dir: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WAITING_COMMAND, str(data_dir)],
        cwd=ROOT,
        env=environment(data_dir),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def servers(data_dir: Path) -> list[psutil.Process]:
    processes = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()
            if "flows.temporary_prefect_server_process" in words and any(
                word.startswith(f"{data_dir}/") for word in words
            ):
                processes.append(process)
    return [process for process in processes if process.status() != psutil.STATUS_ZOMBIE]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "time limit reached"
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("phase", "signal_number"),
    [
        ("starting", signal.SIGKILL),
        ("running", signal.SIGKILL),
        ("running", signal.SIGTERM),
        ("starting", signal.SIGHUP),
    ],
)
def test_server_ends_when_its_run_is_killed(phase: str, signal_number: signal.Signals, data_dir: Path) -> None:
    run = start_waiting_command(data_dir)
    if phase == "running":
        assert run.stdout and run.stdout.readline() == "ready\n"
    wait_until(lambda: bool(servers(data_dir)))
    run.send_signal(signal_number)
    run.communicate(timeout=SECONDS)
    wait_until(lambda: not servers(data_dir))


def test_next_run_ends_only_the_stuck_server_of_its_folder(data_dir: Path, tmp_path: Path) -> None:
    other_folder = tmp_path / "other"
    shutil.copytree(data_dir, other_folder)
    runs = [start_waiting_command(data_dir), start_waiting_command(other_folder)]
    for run in runs:
        assert run.stdout and run.stdout.readline() == "ready\n"
    (stuck,) = servers(data_dir)
    stuck.suspend()  # a suspended server does not notice the end of its run
    runs[0].kill()
    runs[0].communicate(timeout=SECONDS)
    assert [server.pid for server in servers(data_dir)] == [stuck.pid]

    with closing(sqlite3.connect(data_dir / "prefect" / "prefect.db")) as database:  # a locked database must not matter
        database.execute("begin exclusive")
        next_run = start_waiting_command(data_dir)
        assert next_run.stdout and next_run.stdout.readline() == "ready\n"

    assert stuck.pid not in [server.pid for server in servers(data_dir)]
    assert len(servers(other_folder)) == 1
    assert len(list((data_dir / "prefect" / "temporary").iterdir())) == 1  # the folder of the current run
    for run in (next_run, runs[1]):
        run.kill()
        run.communicate(timeout=SECONDS)


def test_ctrl_c_prints_one_line_and_leaves_no_files(data_dir: Path) -> None:
    run = start_waiting_command(data_dir)
    assert run.stdout and run.stdout.readline() == "ready\n"
    os.killpg(run.pid, signal.SIGINT)  # like a terminal, to all processes of the command
    assert run.communicate(timeout=SECONDS)[1] == "stopped; run it again to go on\n"
    assert servers(data_dir) == []
    assert list((data_dir / "prefect" / "temporary").iterdir()) == []


def test_database_of_a_newer_prefect_is_replaced(data_dir: Path, environment_of_a_run: dict[str, str]) -> None:
    with closing(sqlite3.connect(data_dir / "prefect" / "prefect.db")) as database:
        database.execute("update alembic_version set version_num = 'ffffffffffff'")
        database.commit()

    first, second = (command("flows.monitor", environment_of_a_run) for _ in range(2))

    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert first.stderr.startswith(f"note: {data_dir}/prefect/prefect.db is damaged or of another version")
    assert first.stderr.count("\n") == 1
    assert second.stderr == ""
    assert servers(data_dir) == []


def test_server_that_cannot_start_gives_one_error_line(data_dir: Path, environment_of_a_run: dict[str, str]) -> None:
    # This setting makes the server fail at its start, but not the run.
    invalid = environment_of_a_run | {"PREFECT_SERVER_DOCKET_URL": "nonsense://x"}
    result = command("flows.monitor", invalid)
    log = data_dir / "logs" / "temporary-prefect-server.log"
    assert result.returncode == 1
    assert result.stderr == (
        f"error: the temporary Prefect server stopped before it was ready; run the command again. Its log is {log}\n"
    )
    assert log.stat().st_size
    assert "Traceback" not in log.read_text()


def test_unusable_folder_gives_one_error_line(data_dir: Path, environment_of_a_run: dict[str, str]) -> None:
    (data_dir / "prefect" / "temporary").write_text("a file, where the folder should be")
    result = command("flows.monitor", environment_of_a_run)
    assert result.returncode == 1
    assert result.stderr.startswith("error: the temporary Prefect server cannot be set up in ")
    assert result.stderr.count("\n") == 1


def test_full_disk_gives_one_error_line(data_dir: Path, environment_of_a_run: dict[str, str]) -> None:
    folder = data_dir / "prefect" / "temporary"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a file system is not permitted")
    try:
        result = command("flows.monitor", environment_of_a_run)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
    assert result.returncode == 1
    assert "No space left on device" in result.stderr
    assert result.stderr.count("\n") == 1
    assert servers(data_dir) == []


@pytest.fixture
def environment_of_a_run(data_dir: Path, database: str) -> dict[str, str]:
    return environment(data_dir) | {"DATABASE_URL": database, "ALERT_URLS": ""}


def command(module: str, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env=settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * SECONDS,
    )


def test_no_server_is_found_without_services(data_dir: Path) -> None:
    assert _server_of_services(data_dir) is None
    (data_dir / "services").mkdir()
    assert _server_of_services(data_dir) is None
