"""Health checks, one for each part of an installation. A check starts nothing and takes at most a few seconds."""

from __future__ import annotations

import os
import shutil
import socket
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Error, ServerProxy

import psutil
import psycopg
import requests
from supervisor.xmlrpc import SupervisorTransport, UnixStreamHTTPConnection

from core import embedded_postgres
from core.clock import CLOCK_SKEW
from core.database import login_refusal
from core.prefect_client import PrefectClient
from core.prefect_names import WORK_POOLS
from core.queries import load_query
from core.roles import login_url
from core.sessions import UnfitDatabase, open_connection
from core.settings import Settings

SECONDS = 5
DATABASE_SETTINGS = {"statement_timeout": f"{SECONDS}s"}
_MB = 1024 * 1024
_DOWN = ("BACKOFF", "FATAL", "EXITED")
_CGROUP = Path("/sys/fs/cgroup")


class HealthUnknown(Exception):
    """The check cannot tell now whether the part is healthy."""


@dataclass(frozen=True)
class FreeSpace:
    """Free and total bytes of a disk or of memory."""

    free: int
    total: int


@dataclass(frozen=True)
class ProcessState:
    """A process of the supervisor. `stopped`: a person stopped it; `down`: it exited, or does not start."""

    name: str
    pid: int
    stopped: bool
    down: bool = False


def database_address(settings: Settings) -> str:
    """Return the URL of the database. Does not start the embedded one."""
    return embedded_postgres.server_url(settings.data_dir) if settings.embedded else login_url(settings)


def database_problem(url: str) -> str | None:
    """Return why the database does not answer, or None."""
    try:
        with open_connection(url, settings=DATABASE_SETTINGS, connect_timeout=SECONDS) as connection:
            connection.execute("select 1")
    except UnfitDatabase as error:
        return str(error)
    except psycopg.OperationalError as error:
        if login_refusal(error):
            return "it refuses the login of the watchdog"
        return f"no connection ({error.sqlstate})" if error.sqlstate else "no connection"
    except psycopg.Error as error:
        return type(error).__name__
    return None


def last_publication_time(url: str, now: datetime) -> datetime | None:
    """Return when an ingest last published a batch or found none changed; None if never. Raises HealthUnknown.

    Times after `now` do not count: they were recorded while the clock was ahead.
    """
    try:
        with open_connection(url, settings=DATABASE_SETTINGS, connect_timeout=SECONDS) as connection:
            row = connection.execute(
                load_query("ops/batches.find_last_publication_time"), {"latest": now + CLOCK_SKEW}
            ).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return None
    except psycopg.Error as error:
        raise HealthUnknown from error
    return row[0] if row else None


def worker_problem(api_url: str, login: str) -> str | None:
    """Return which work pools have no worker online, or None. A paused pool counts as online. Raises HealthUnknown."""
    server = PrefectClient(api_url, login, tries=0, seconds=SECONDS)
    try:
        missing = [pool for pool in WORK_POOLS if server.ask("GET", f"work_pools/{pool}")["status"] == "NOT_READY"]
    except (requests.RequestException, KeyError, TypeError) as error:
        raise HealthUnknown from error
    return f"no worker of the pool {' or '.join(missing)} reports" if missing else None


def page_problem(url: str, seconds: float = SECONDS) -> str | None:
    """Return why a page does not answer with success in time, or None."""
    try:
        response = requests.get(url, timeout=seconds)
    except requests.RequestException as error:
        return type(error).__name__
    return None if response.ok else f"HTTP {response.status_code}"


def disk(folder: Path) -> FreeSpace:
    """Return the space of the folder's disk. Blocks that only root may use do not count."""
    usage = shutil.disk_usage(folder)
    return FreeSpace(usage.free, usage.used + usage.free)


def memory(cgroup: Path = _CGROUP) -> FreeSpace:
    """Return the memory of this machine, or of the container if its limit is lower."""
    machine_memory = psutil.virtual_memory()
    space = FreeSpace(machine_memory.available, machine_memory.total)
    with suppress(OSError, ValueError):  # no container, or no limit
        limit = int((cgroup / "memory.max").read_text())
        lines = (cgroup / "memory.stat").read_text().splitlines()
        cached = {name: int(value) for name, _, value in (line.partition(" ") for line in lines)}["inactive_file"]
        used = int((cgroup / "memory.current").read_text()) - cached
        if limit < space.total:
            return FreeSpace(max(min(limit - used, space.free), 0), limit)
    return space


def process_states() -> list[ProcessState] | None:
    """Return the processes of `make up`; None if `make up` did not start this process, or the supervisor is silent."""
    url = os.environ.get("SUPERVISOR_SERVER_URL")
    if not url:
        return None
    try:
        with ServerProxy("http://supervisor", transport=_transport(url)) as supervisor:
            answers = supervisor.supervisor.getAllProcessInfo()
    except (OSError, HTTPException, Error):
        return None
    infos: list[Any] = list(answers) if isinstance(answers, list) else []
    return [
        ProcessState(info["name"], info["pid"], info["statename"] == "STOPPED", info["statename"] in _DOWN)
        for info in infos
        if info["statename"] in ("RUNNING", "STOPPED", *_DOWN)  # omits states of transition, such as STARTING
    ]


class _Connection(UnixStreamHTTPConnection):  # type: ignore[misc]  # without types
    """A connection to the supervisor's socket, with a timeout."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SECONDS)
        self.sock.connect(self.socketfile)


def _transport(url: str) -> SupervisorTransport:
    def open_socket() -> _Connection:
        connection = _Connection("localhost")
        connection.socketfile = url.removeprefix("unix://")
        return connection

    transport = SupervisorTransport(serverurl=url)
    transport._get_connection = open_socket
    return transport


def in_mb(space: FreeSpace) -> str:
    """Format the space, such as `812 MB of 40,960 MB`."""
    return f"{space.free / _MB:,.0f} MB of {space.total / _MB:,.0f} MB"
