"""Which Prefect server a run from a command line reports to: where none lasts, a temporary one is started for it.

A temporary server has a database of its own, in `PREFECT_HOME/temporary`, and ends with the run. The database is a copy
of the empty one in `PREFECT_HOME/prefect.db`: no run waits for another's lock, and a start needs no migrations.
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

DATABASE = "prefect.db"
# What services.local_services gives each service, and asks of each run: see there.
SERVICES_MARK = "MOOVITAMIX_SERVICES"
SIGNS_OF_LIFE = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
RUN_TAG = "moovitamix"
_ROOT = Path(__file__).parent.parent
_LOCK, _PROCESS_ID, _LOG = "lock", "pid", "temporary-prefect-server.log"
_SECONDS_TO_START = 120.0
_SECONDS_TO_END = 5.0
_SECONDS_TO_ANSWER = 5.0
_LOG_BYTES = 2**20
# Settings of other servers, which a temporary one must not take for its own.
_OF_OTHER_SERVERS = ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_DATABASE_CONNECTION_URL")


class PrefectServerError(MoovitamixError):
    """Prefect's temporary server cannot be started."""


@dataclass
class TemporaryServer:
    """A server that runs, and the folder that it and this process share."""

    process: subprocess.Popen[bytes]
    folder: Path
    lock: FileLock
    url: str
    login: str

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        """End it, and delete its database. Harmless when repeated."""
        _end(self.process)
        with suppress(OSError):
            self.lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)


_server: TemporaryServer | None = None


def ensure_prefect_api(data_dir: Path) -> None:
    """From here on, flows of this process report to the server that is set, or that of `make up`, or a temporary one.

    That of `make up` is used when it runs for this DATA_DIR: the deployments then follow up what a command publishes. A
    temporary one runs until this process ends: what Prefect still sends at exit reaches it. Raises PrefectServerError,
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
    server = _ensure_server(settings.home.resolve(), DataLayout(data_dir).logs)
    os.environ.pop("PREFECT_API_KEY", None)
    os.environ.update({"PREFECT_API_URL": server.url, "PREFECT_API_AUTH_STRING": server.login})
    refresh_global_settings_context()  # not a context of its own: Prefect's threads would not see it


def is_temporary(api_url: str | None) -> bool:
    """Whether it is the address of this process's temporary server, which tells nobody and starts nothing."""
    return _server is not None and api_url == _server.url


def server_unavailable_message() -> str:
    """What a person reads when the server went away, or was never there."""
    if _server is not None:
        return "Prefect's temporary server ended before the run did: was it killed? Run it again"
    return "Prefect's server does not answer; check PREFECT_API_URL"


def template_stamp(revision: str) -> int:
    """What a template is marked with: the installed Prefect, and the revision of the schema that it makes."""
    return zlib.crc32(f"{version('prefect')} {revision}".encode()) >> 1


def _server_of_services(data_dir: Path) -> dict[str, str] | None:
    """The settings with which a run reports to the Prefect server of `make up`; None unless it runs, and answers."""
    if not DataLayout(data_dir).services.exists():
        return None
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # a process of somebody else, or one that has just ended
            if not {"prefect", "server", "start"} <= set(process.cmdline()):
                continue
            environment = process.environ()
            url = environment.get("PREFECT_API_URL", "")
            if (
                environment.get(SERVICES_MARK) == str(data_dir)
                and probe_failure(f"{url}/health", _SECONDS_TO_ANSWER) is None
            ):
                names = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING")
                return {name: environment[name] for name in names if name in environment} | SIGNS_OF_LIFE
    return None


def _ensure_server(home: Path, logs: Path) -> TemporaryServer:
    global _server
    if _server is None or not _server.runs:
        try:
            _server = _start(home, logs)
        except OSError as error:
            kind = DiskFull if is_disk_full(error) else PrefectServerError
            raise kind(f"Prefect's temporary server cannot be set up in {home}: {_reason(error)}") from error
        atexit.register(_server.stop)
    return _server


def _start(home: Path, logs: Path) -> TemporaryServer:
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
            start_new_session=True,  # a Ctrl-C is for the run, which still has to say how it ended
        )
    finally:
        os.close(log)
    server = TemporaryServer(process, folder, lock, "", login)
    try:
        (folder / _PROCESS_ID).write_text(str(process.pid))
        server.url = f"http://127.0.0.1:{_port_of(process, logs)}/api"
    except BaseException:
        server.stop()
        raise
    return server


def _environment(home: Path, folder: Path, login: str, is_ready: bool) -> dict[str, str]:
    mine = {name: value for name, value in os.environ.items() if name not in _OF_OTHER_SERVERS}
    return mine | {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / DATABASE}",
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": str(not is_ready).lower(),
        "PREFECT_API_BLOCKS_REGISTER_ON_START": str(not is_ready).lower(),
        "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",  # it was done in another database
        "PREFECT_SERVER_API_AUTH_STRING": login,
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
    }


def _port_of(process: subprocess.Popen[bytes], logs: Path) -> int:
    """The port that the server announces. Raises PrefectServerError when it ends, or says nothing in time."""
    output = cast(IO[bytes], process.stdout)
    readable, _, _ = select.select([output], [], [], _SECONDS_TO_START)
    line = output.readline() if readable else b""
    if not line.strip().isdigit():
        what = "ended before it was ready" if readable else f"was not ready within {_SECONDS_TO_START:g} s"
        raise PrefectServerError(f"Prefect's temporary server {what}; run it again. Its log is {logs / _LOG}")
    return int(line)


def _copy_template(template: Path, database: Path) -> bool:
    """Whether the run got a database that needs no migration. What cannot be used is set aside, and that is said."""
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
        f"note: {template} is damaged or of another version, and was set aside as {aside.name}; a new one is made. "
        "No run needs what is in it",
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
    """End the servers of runs that were killed, and delete their folders. Only those of this home."""
    for folder in runs.iterdir():
        try:
            lock = exclusive_lock(folder / _LOCK, wait_seconds=0)
        except OSError:  # its run goes on
            continue
        with suppress(OSError, ValueError, psutil.Error):
            process = psutil.Process(int((folder / _PROCESS_ID).read_text()))
            if str(folder) in process.cmdline():  # not a stranger who was given the number since
                process.kill()
                process.wait(_SECONDS_TO_END)
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def _open_log(logs: Path) -> int:
    """Where the server writes what goes wrong. Nowhere, when there is no room for it."""
    with suppress(OSError):
        logs.mkdir(parents=True, exist_ok=True)
        file = logs / _LOG
        kept = os.O_APPEND if file.exists() and file.stat().st_size < _LOG_BYTES else os.O_TRUNC
        return os.open(file, os.O_WRONLY | os.O_CREAT | kept, 0o600)
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
