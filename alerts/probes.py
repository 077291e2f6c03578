"""Looks at one part each: does it answer, is there room. Nothing is started, and nothing takes longer than seconds."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import psutil
import psycopg
import requests
from supervisor.xmlrpc import SupervisorTransport

from core import embedded
from core.database import statement
from core.roles import any_login
from core.settings import Settings

_SECONDS = 5
_MB = 1024 * 1024
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Room:
    """Bytes that are free, of how many."""

    free: int
    total: int


@dataclass(frozen=True)
class Program:
    """A program as the supervisor has it; `stopped`: somebody asked for that."""

    name: str
    pid: int
    stopped: bool


def address_of_database(settings: Settings) -> str:
    """Where the database is; the embedded one is not started for it."""
    return embedded.address(settings.data_dir) if settings.embedded else any_login(settings)


def database_fails(url: str) -> str | None:
    """Why the database does not answer, in words of ours; None when it does."""
    try:
        with psycopg.connect(url, connect_timeout=_SECONDS, options="-c statement_timeout=5s") as connection:
            connection.execute("select 1")
    except psycopg.OperationalError as error:
        return f"no connection ({error.sqlstate})" if error.sqlstate else "no connection"
    except psycopg.Error as error:
        return type(error).__name__
    return None


def newest_publication(url: str) -> datetime | None:
    """When an ingest last published something, or found everything unchanged; None when never, or not to be known."""
    with suppress(psycopg.Error), psycopg.connect(url, connect_timeout=_SECONDS) as connection:
        row = connection.execute(statement("ops/newest_published")).fetchone()
        return row[0] if row else None
    return None


def page_fails(url: str) -> str | None:
    """Why a page does not answer with success; None when it does."""
    try:
        answer = requests.get(url, timeout=_SECONDS)
    except requests.RequestException as error:
        return type(error).__name__
    return None if answer.ok else f"HTTP {answer.status_code}"


def disk(folder: Path) -> Room:
    """The disk that holds the folder, as its owner may use it."""
    usage = shutil.disk_usage(folder)
    return Room(usage.free, usage.used + usage.free)


def memory(cgroup: Path = _CGROUP) -> Room:
    """The memory of this machine, or of the container when it is given less."""
    of_machine = psutil.virtual_memory()
    room = Room(of_machine.available, of_machine.total)
    with suppress(OSError, ValueError):  # not in a container, or without a limit
        limit = int((cgroup / "memory.max").read_text())
        lines = (cgroup / "memory.stat").read_text().splitlines()
        cached = {name: int(value) for name, _, value in (line.partition(" ") for line in lines)}["inactive_file"]
        used = int((cgroup / "memory.current").read_text()) - cached
        if limit < room.total:
            return Room(max(min(limit - used, room.free), 0), limit)
    return room


def programs() -> list[Program] | None:
    """What `make up` runs, and what was stopped by hand; None when this is not one of its programs."""
    url = os.environ.get("SUPERVISOR_SERVER_URL")
    if not url:
        return None
    try:
        with ServerProxy("http://supervisor", transport=SupervisorTransport(serverurl=url)) as supervisor:
            answers = supervisor.supervisor.getAllProcessInfo()
    except (OSError, Fault):
        return None
    told: list[Any] = list(answers) if isinstance(answers, list) else []
    return [Program(one["name"], one["pid"], one["statename"] == "STOPPED") for one in told if _is_up_or_stopped(one)]


def _is_up_or_stopped(answer: dict[str, Any]) -> bool:
    return answer["statename"] in ("RUNNING", "STOPPED")


def in_mb(room: Room) -> str:
    """Such as 812 MB of 40,960 MB."""
    return f"{room.free / _MB:,.0f} MB of {room.total / _MB:,.0f} MB"
