"""`make up` of two users on one machine, started as by cron or systemd, in folders with unusual names.

The users have no home folder, locale or terminal. A third user owns the shared temporary folder.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.local_services import free_ports
from tests.conftest import PORTS
from tests.ordinary_user import ORDINARY_USER, ROOT, bare_environment, folder_of_ordinary_user, python_as

# Each character of the first name has caused a failure: in Supervisor, a shell, a URL or a file pattern.
NAMES = ("100% é #1 ;2 $HOME 'x' [y] \"z\" \\", "long" * 40)


@dataclass(frozen=True)
class User:
    """A user of the machine, with their settings."""

    uid: int
    settings: dict[str, str]

    def start(self, *command: str, **settings: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*python_as(self.uid), "-m", *command],
            cwd=ROOT,
            env=bare_environment(**self.settings | settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str, **settings: str) -> str:
        """Run a command and return its output. Asserts exit code 0."""
        process = self.start(*command, **settings)
        output = process.communicate(timeout=900)[0]
        assert process.returncode == 0, output
        return output


@pytest.fixture
def users(shared_folder: Path) -> Iterator[list[User]]:
    if os.geteuid() != 0:
        pytest.skip("only root can start programs as two users")
    temporary = shared_folder / "tmp"
    temporary.mkdir()
    (temporary / "runner_storage").mkdir()  # owned by a third user, as in /tmp
    ports = iter(free_ports(2 * len(PORTS)))
    users = []
    for uid, name in zip((pwd.getpwnam("daemon").pw_uid, ORDINARY_USER), NAMES, strict=True):
        data_dir = folder_of_ordinary_user(shared_folder / name, uid)
        settings = {"DATA_DIR": str(data_dir), "TMPDIR": str(temporary), "PYTHONIOENCODING": "ascii"}
        users.append(User(uid, settings | {port: str(next(ports)) for port in PORTS}))
    with ExitStack() as stack:
        for user in users:
            stack.callback(lambda user=user: user.run("services", "down"))
        yield users


@pytest.mark.timeout(900)
def test_services_of_two_users_run_side_by_side_without_shared_files(users: list[User], shared_folder: Path) -> None:
    for user in users:
        user.run("services", "up")
    first, second = users
    server = f"http://127.0.0.1:{first.settings['PREFECT_SERVER_API_PORT']}/api"
    run = ("prefect", "deployment", "run", "ingest/daily", "--watch")
    first.run(*run, PREFECT_API_URL=server, PYTHONIOENCODING="utf-8")
    assert "mm_" in first.run("serving.keys", "create", "--name", "test", "--scope", "dashboard:read")
    assert "backed up" in first.run("services.backup", "make")
    output = second.start("services", "up", SERVING_PORT="1").communicate(timeout=600)[0]
    assert f"SERVING_PORT {second.settings['SERVING_PORT']} -> 1" in output

    first.run("services", "down")
    assert "RUNNING" in second.run("services", "status")
    for user in users:
        assert any((Path(user.settings["DATA_DIR"]) / "tmp").iterdir())
        assert _owned_by(user.uid, shared_folder / "tmp") == ""


def _owned_by(uid: int, folder: Path) -> str:
    command = ["find", str(folder), "-uid", str(uid)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
