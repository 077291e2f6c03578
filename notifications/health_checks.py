"""Looks at one part each: does it answer, is there room. Nothing is started, and nothing takes longer than seconds."""

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
from requests.auth import HTTPBasicAuth
from supervisor.xmlrpc import SupervisorTransport, UnixStreamHTTPConnection

from core import embedded_postgres
from core.clock import CLOCK_SKEW
from core.database import login_refusal
from core.queries import load_query
from core.roles import any_login
from core.sessions import UnfitDatabase, open_connection
from core.settings import Settings

_SECONDS = 5
_SETTINGS = {"statement_timeout": f"{_SECONDS}s"}
WORK_POOL = "moovitamix"
_MB = 1024 * 1024
_DOWN = ("BACKOFF", "FATAL", "EXITED")
_CGROUP = Path("/sys/fs/cgroup")


class HealthUnknown(Exception):
    """What was asked for cannot be known now: the answer is neither well nor wrong."""


@dataclass(frozen=True)
class FreeSpace:
    """Bytes that are free, of how many."""

    free: int
    total: int


@dataclass(frozen=True)
class ProcessState:
    """A program as the supervisor has it; `stopped`: somebody asked for that; `down`: it ended, or does not start."""

    name: str
    pid: int
    stopped: bool
    down: bool = False


def address_of_database(settings: Settings) -> str:
    """Where the database is; the embedded one is not started for it."""
    return embedded_postgres.server_url(settings.data_dir) if settings.embedded else any_login(settings)


def database_fails(url: str) -> str | None:
    """Why the database does not answer, in words of ours; None when it does."""
    try:
        with open_connection(url, settings=_SETTINGS, connect_timeout=_SECONDS) as connection:
            connection.execute("select 1")
    except UnfitDatabase as error:
        return str(error)
    except psycopg.OperationalError as error:
        if login_refusal(error):
            return "it refuses the login of the watch"
        return f"no connection ({error.sqlstate})" if error.sqlstate else "no connection"
    except psycopg.Error as error:
        return type(error).__name__
    return None


def newest_publication(url: str, now: datetime) -> datetime | None:
    """When an ingest last published something, or found everything unchanged; None when never. Raises HealthUnknown.

    What was noted after `now`, by a clock that was ahead, does not count.
    """
    try:
        with open_connection(url, settings=_SETTINGS, connect_timeout=_SECONDS) as connection:
            row = connection.execute(
                load_query("ops/batches.find_last_publication_time"), {"latest": now + CLOCK_SKEW}
            ).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return None
    except psycopg.Error as error:
        raise HealthUnknown from error
    return row[0] if row else None


def worker_missing(api_url: str, login: str) -> str | None:
    """Return why no worker of the pool is online, or None. A paused pool counts as online. Raises HealthUnknown."""
    user, _, password = login.partition(":")
    auth = HTTPBasicAuth(user.encode(), password.encode()) if login else None
    try:
        answer = requests.get(f"{api_url}/work_pools/{WORK_POOL}", auth=auth, timeout=_SECONDS)
        answer.raise_for_status()
        status = answer.json()["status"]
    except (requests.RequestException, KeyError) as error:
        raise HealthUnknown from error
    return f"none of the pool {WORK_POOL} reports" if status == "NOT_READY" else None


def page_fails(url: str) -> str | None:
    """Why a page does not answer with success; None when it does."""
    try:
        answer = requests.get(url, timeout=_SECONDS)
    except requests.RequestException as error:
        return type(error).__name__
    return None if answer.ok else f"HTTP {answer.status_code}"


def disk(folder: Path) -> FreeSpace:
    """The disk that holds the folder, as its owner may use it."""
    usage = shutil.disk_usage(folder)
    return FreeSpace(usage.free, usage.used + usage.free)


def memory(cgroup: Path = _CGROUP) -> FreeSpace:
    """The memory of this machine, or of the container when it is given less."""
    of_machine = psutil.virtual_memory()
    room = FreeSpace(of_machine.available, of_machine.total)
    with suppress(OSError, ValueError):  # not in a container, or without a limit
        limit = int((cgroup / "memory.max").read_text())
        lines = (cgroup / "memory.stat").read_text().splitlines()
        cached = {name: int(value) for name, _, value in (line.partition(" ") for line in lines)}["inactive_file"]
        used = int((cgroup / "memory.current").read_text()) - cached
        if limit < room.total:
            return FreeSpace(max(min(limit - used, room.free), 0), limit)
    return room


def programs() -> list[ProcessState] | None:
    """What `make up` runs or should run; None when this is not one of its programs, or cannot be known."""
    url = os.environ.get("SUPERVISOR_SERVER_URL")
    if not url:
        return None
    try:
        with ServerProxy("http://supervisor", transport=_transport(url)) as supervisor:
            answers = supervisor.supervisor.getAllProcessInfo()
    except (OSError, HTTPException, Error):
        return None
    told: list[Any] = list(answers) if isinstance(answers, list) else []
    return [
        ProcessState(one["name"], one["pid"], one["statename"] == "STOPPED", one["statename"] in _DOWN)
        for one in told
        if one["statename"] in ("RUNNING", "STOPPED", *_DOWN)  # not on its way to one of these
    ]


class _Connection(UnixStreamHTTPConnection):  # type: ignore[misc]  # without types
    """The supervisor's socket, which waits for ever by itself."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_SECONDS)
        self.sock.connect(self.socketfile)


def _transport(url: str) -> SupervisorTransport:
    def connection() -> _Connection:
        made = _Connection("localhost")
        made.socketfile = url.removeprefix("unix://")
        return made

    transport = SupervisorTransport(serverurl=url)
    transport._get_connection = connection
    return transport


def in_mb(room: FreeSpace) -> str:
    """Such as 812 MB of 40,960 MB."""
    return f"{room.free / _MB:,.0f} MB of {room.total / _MB:,.0f} MB"
