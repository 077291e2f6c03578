"""Chooses the Prefect server for a run from a command line, and starts a temporary one if there is none.

A temporary server stops with the run. Its database, in `PREFECT_HOME/temporary`, is a copy of the empty template
`PREFECT_HOME/prefect.db`. So runs do not share locks, and a start needs no migration.
"""

from __future__ import annotations

import atexit
import os
import secrets
import select
import shutil
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import mkdtemp
from typing import IO, cast

import psutil

from core.data_layout import DataLayout
from core.errors import DiskFull, MoovitamixError, is_disk_full
from core.file_locks import FileLock, exclusive_lock
from core.http_probe import probe_failure
from core.prefect_names import FLOW_HEARTBEAT, SECONDS_TO_START, SERVICES_MARK

DATABASE = "prefect.db"
_ROOT = Path(__file__).parent.parent
_LOCK, _PROCESS_ID, _LOG = "lock", "pid", "temporary-prefect-server.log"
_SECONDS_TO_END = 5.0
_SECONDS_TO_ANSWER = 5.0
_LOG_BYTES = 2**20
# Settings of other servers. A temporary server must not inherit them.
_OF_OTHER_SERVERS = ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_DATABASE_CONNECTION_URL")


class PrefectServerError(MoovitamixError):
    """The temporary Prefect server cannot be started."""


@dataclass
class TemporaryServer:
    """A temporary server, and the folder that it shares with this process."""

    process: subprocess.Popen[bytes]
    folder: Path
    lock: FileLock
    url: str
    login: str

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        """Stop the server, and delete its database. Can be repeated."""
        _end(self.process)
        with suppress(OSError):
            self.lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)


_server: TemporaryServer | None = None


def ensure_prefect_api(data_dir: Path, while_starting: Callable[[], None] = lambda: None) -> None:
    """Make the flows of this process report to the server of PREFECT_API_URL, of `make up`, or a temporary server.

    `while_starting` is called while a temporary server starts, which takes seconds.

    The server of `make up` is used if it runs for this DATA_DIR, so that its deployments react to events of the run.
    A temporary server runs until this process ends, because Prefect sends data at exit. Raises PrefectServerError,
    DiskFull.
    """
    from prefect.context import refresh_global_settings_context
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url:
        return
    services = _server_of_services(data_dir)
    if services is not None:
        os.environ.update(services)
        refresh_global_settings_context()
        return
    server = _ensure_server(settings.home.resolve(), DataLayout(data_dir).logs, while_starting)
    os.environ.pop("PREFECT_API_KEY", None)
    os.environ.update({"PREFECT_API_URL": server.url, "PREFECT_API_AUTH_STRING": server.login})
    refresh_global_settings_context()  # Prefect's threads see the global context only


def is_temporary(api_url: str | None) -> bool:
    """Whether the URL is that of this process's temporary server, which has no automations and no deployments."""
    return _server is not None and api_url == _server.url


def server_unavailable_message() -> str:
    """Return the error message for a server that does not answer."""
    if _server is not None:
        return "the temporary Prefect server stopped before the run ended, maybe it was killed; run the command again"
    return "Prefect's server does not answer; check PREFECT_API_URL"


def template_stamp(revision: str) -> int:
    """Return the stamp of a template: a hash of the installed Prefect version and the schema revision."""
    return zlib.crc32(f"{version('prefect')} {revision}".encode()) >> 1


def _server_of_services(data_dir: Path) -> dict[str, str] | None:
    """Return the settings for the Prefect server of `make up`; None if it does not answer."""
    if not DataLayout(data_dir).services.exists():
        return None
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # a process of another user, or one that has ended
            if not {"prefect", "server", "start"} <= set(process.cmdline()):
                continue
            environment = process.environ()
            url = environment.get("PREFECT_API_URL", "")
            if (
                environment.get(SERVICES_MARK) == str(data_dir)
                and probe_failure(f"{url}/health", _SECONDS_TO_ANSWER) is None
            ):
                names = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING")
                return {name: environment[name] for name in names if name in environment} | FLOW_HEARTBEAT
    return None


def _ensure_server(home: Path, logs: Path, while_starting: Callable[[], None]) -> TemporaryServer:
    global _server
    if _server is None or not _server.runs:
        try:
            _server = _start(home, logs, while_starting)
        except OSError as error:
            kind = DiskFull if is_disk_full(error) else PrefectServerError
            raise kind(f"the temporary Prefect server cannot be set up in {home}: {_reason(error)}") from error
        atexit.register(_server.stop)
    return _server


def _start(home: Path, logs: Path, while_starting: Callable[[], None] = lambda: None) -> TemporaryServer:
    runs = home / "temporary"
    runs.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(home / "temporary.lock"):
        _clean_up(runs)
        folder = Path(mkdtemp(prefix="run-", dir=runs))
        lock = exclusive_lock(folder / _LOCK, wait_seconds=0)
        is_ready = _copy_template(home / DATABASE, folder / DATABASE)
    login = f"run:{secrets.token_urlsafe(24)}"
    log = _open_log(logs)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.temporary_prefect_server_process", str(folder), str(home / DATABASE)],
            cwd=_ROOT,
            env=_environment(home, folder, login, is_ready),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # a Ctrl-C stops the run first, which still sends its state
        )
    finally:
        os.close(log)
    server = TemporaryServer(process, folder, lock, "", login)
    try:
        (folder / _PROCESS_ID).write_text(str(process.pid))
        while_starting()
        server.url = f"http://127.0.0.1:{_port_of(process, logs)}/api"
    except BaseException:
        server.stop()
        raise
    return server


def _environment(home: Path, folder: Path, login: str, is_ready: bool) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in _OF_OTHER_SERVERS}
    return inherited | {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / DATABASE}",
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": str(not is_ready).lower(),
        "PREFECT_API_BLOCKS_REGISTER_ON_START": str(not is_ready).lower(),
        "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",  # the stored result belongs to another database
        "PREFECT_SERVER_API_AUTH_STRING": login,
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
    }


def _port_of(process: subprocess.Popen[bytes], logs: Path) -> int:
    """Wait for the port that the server announces. Raises PrefectServerError if it stops, or is too slow."""
    output = cast(IO[bytes], process.stdout)
    readable, _, _ = select.select([output], [], [], SECONDS_TO_START)
    line = output.readline() if readable else b""
    if not line.strip().isdigit():
        problem = "stopped before it was ready" if readable else f"was not ready within {SECONDS_TO_START:g} s"
        raise PrefectServerError(
            f"the temporary Prefect server {problem}; run the command again. Its log is {logs / _LOG}"
        )
    return int(line)


def _copy_template(template: Path, database: Path) -> bool:
    """Copy the template. Return whether there is a usable template. Rename an unusable template, and print a note."""
    try:
        shutil.copyfile(template, database)
    except FileNotFoundError:
        return False
    except OSError as error:
        if is_disk_full(error):
            raise
    if _is_usable(database):
        return True
    database.unlink(missing_ok=True)
    aside = template.with_name(f"{template.name}.set-aside")
    shutil.rmtree(aside) if aside.is_dir() else aside.unlink(missing_ok=True)
    template.rename(aside)
    for name in (f"{template.name}-wal", f"{template.name}-shm"):
        template.with_name(name).unlink(missing_ok=True)
    print(
        f"note: {template} is damaged or of another version. It was set aside as {aside.name}, and a new file is  "
        "created. It holds no data that you need",
        file=sys.stderr,
        flush=True,
    )
    return False


def _is_usable(database: Path) -> bool:
    with suppress(sqlite3.Error, TypeError), closing(sqlite3.connect(database)) as connection:
        (check,) = connection.execute("pragma quick_check(1)").fetchone()
        (revision,) = connection.execute("select version_num from alembic_version").fetchone()
        (stamp,) = connection.execute("pragma user_version").fetchone()
        return bool(check == "ok" and stamp == template_stamp(revision))
    return False


def _clean_up(runs: Path) -> None:
    """Stop the servers of killed runs of this home, and delete their folders."""
    for folder in runs.iterdir():
        try:
            lock = exclusive_lock(folder / _LOCK, wait_seconds=0)
        except OSError:  # its run is active
            continue
        with suppress(OSError, ValueError, psutil.Error):
            process = psutil.Process(int((folder / _PROCESS_ID).read_text()))
            if str(folder) in process.cmdline():  # otherwise a new process has the same id
                process.kill()
                process.wait(_SECONDS_TO_END)
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def _open_log(logs: Path) -> int:
    """Open the server's log; /dev/null if the disk is full."""
    with suppress(OSError):
        logs.mkdir(parents=True, exist_ok=True)
        file = logs / _LOG
        mode = os.O_APPEND if file.exists() and file.stat().st_size < _LOG_BYTES else os.O_TRUNC
        return os.open(file, os.O_WRONLY | os.O_CREAT | mode, 0o600)
    return os.open(os.devnull, os.O_WRONLY)


def _end(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _reason(error: OSError) -> str:
    return f"{error.strerror or error}{f' ({error.filename})' if error.filename else ''}"
