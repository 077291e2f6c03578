"""The Prefect server of a command: it ends with its run in whatever way that ends, and leaves nothing behind."""

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

# A command that has its server, as a flow does, and then stands still.
WAITING = """
import signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever started the tests may ignore it, as nohup does
from pathlib import Path
from core.tracebacks import hide_tracebacks
from flows.temporary_prefect_server import ensure_prefect_api
hide_tracebacks()
ensure_prefect_api(Path(sys.argv[1]))
print("ready", flush=True)
time.sleep(600)
"""
SECONDS = 120


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which one command has run."""
    folder = tmp_path_factory.mktemp("first")
    run = waiting(folder)
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
    mine = {"DATA_DIR": str(data_dir), "PREFECT_HOME": str(data_dir / "prefect")}
    return {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | mine


def waiting(data_dir: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WAITING, str(data_dir)],
        cwd=ROOT,
        env=environment(data_dir),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def servers(data_dir: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()
            if "flows.temporary_prefect_server_process" in words and any(
                word.startswith(f"{data_dir}/") for word in words
            ):
                found.append(process)
    return [one for one in found if one.status() != psutil.STATUS_ZOMBIE]


def comes(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("when", "number"),
    [
        ("starting", signal.SIGKILL),
        ("running", signal.SIGKILL),
        ("running", signal.SIGTERM),
        ("starting", signal.SIGHUP),
    ],
)
def test_it_ends_with_a_run_that_is_killed(when: str, number: signal.Signals, data_dir: Path) -> None:
    run = waiting(data_dir)
    if when == "running":
        assert run.stdout and run.stdout.readline() == "ready\n"
    comes(lambda: bool(servers(data_dir)))
    run.send_signal(number)
    run.communicate(timeout=SECONDS)
    comes(lambda: not servers(data_dir))


def test_the_next_run_ends_a_server_that_could_not_end_itself_and_no_other(data_dir: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "other"
    shutil.copytree(data_dir, elsewhere)
    runs = [waiting(data_dir), waiting(elsewhere)]
    for run in runs:
        assert run.stdout and run.stdout.readline() == "ready\n"
    (stuck,) = servers(data_dir)
    stuck.suspend()  # it cannot see that its run is killed
    runs[0].kill()
    runs[0].communicate(timeout=SECONDS)
    assert [one.pid for one in servers(data_dir)] == [stuck.pid]

    with closing(sqlite3.connect(data_dir / "prefect" / "prefect.db")) as database:  # nor does its lock hinder anyone
        database.execute("begin exclusive")
        again = waiting(data_dir)
        assert again.stdout and again.stdout.readline() == "ready\n"

    assert stuck.pid not in [one.pid for one in servers(data_dir)]
    assert len(servers(elsewhere)) == 1
    assert len(list((data_dir / "prefect" / "temporary").iterdir())) == 1  # that of the run that goes on
    for run in (again, runs[1]):
        run.kill()
        run.communicate(timeout=SECONDS)


def test_ctrl_c_is_one_line_and_nothing_is_left(data_dir: Path) -> None:
    run = waiting(data_dir)
    assert run.stdout and run.stdout.readline() == "ready\n"
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to all processes of the command
    assert run.communicate(timeout=SECONDS)[1] == "stopped; run it again to go on\n"
    assert servers(data_dir) == []
    assert list((data_dir / "prefect" / "temporary").iterdir()) == []


def test_a_database_of_a_newer_prefect_is_no_hindrance(data_dir: Path, environment_of_a_run: dict[str, str]) -> None:
    with closing(sqlite3.connect(data_dir / "prefect" / "prefect.db")) as database:
        database.execute("update alembic_version set version_num = 'ffffffffffff'")
        database.commit()

    first, second = (command("flows.monitor", environment_of_a_run) for _ in range(2))

    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert first.stderr.startswith(f"note: {data_dir}/prefect/prefect.db is damaged or of another version")
    assert first.stderr.count("\n") == 1
    assert second.stderr == ""
    assert servers(data_dir) == []


def test_a_server_that_cannot_start_is_one_line(data_dir: Path, environment_of_a_run: dict[str, str]) -> None:
    # An order to Prefect that makes its server fail as it starts, and not our part of a run.
    broken = environment_of_a_run | {"PREFECT_SERVER_DOCKET_URL": "nonsense://x"}
    done = command("flows.monitor", broken)
    log = data_dir / "logs" / "temporary-prefect-server.log"
    assert done.returncode == 1
    assert done.stderr == (
        f"error: the temporary Prefect server stopped before it was ready; run the command again. Its log is {log}\n"
    )
    assert log.stat().st_size
    assert "Traceback" not in log.read_text()


def test_a_folder_that_cannot_be_made_is_one_line(data_dir: Path, environment_of_a_run: dict[str, str]) -> None:
    (data_dir / "prefect" / "temporary").write_text("a file, where the folder should be")
    done = command("flows.monitor", environment_of_a_run)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the temporary Prefect server cannot be set up in ")
    assert done.stderr.count("\n") == 1


def test_a_full_disk_is_one_line(data_dir: Path, environment_of_a_run: dict[str, str]) -> None:
    folder = data_dir / "prefect" / "temporary"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        done = command("flows.monitor", environment_of_a_run)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1
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


def test_no_services_are_no_server(data_dir: Path) -> None:
    assert _server_of_services(data_dir) is None
    (data_dir / "services").mkdir()
    assert _server_of_services(data_dir) is None
