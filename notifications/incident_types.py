"""The alerts that the watch raises: what each says, what it says is kept, and what to do next."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from core.settings import Settings
from notifications.health_checks import FreeSpace, in_mb
from notifications.incidents import DATABASE, DISK, FOLDER, PREFECT, SERVING, UNDELIVERABLE
from notifications.notification import RUNBOOK, Notification

MEMORY, UNPUBLISHED, WORKER = "memory", "nothing-published", "worker"
# The program of `make up` that is each part.
PROGRAM_OF = {DATABASE: "postgres", PREFECT: "prefect-server", SERVING: "serving", WORKER: "worker"}
PROGRAM = "program:"


def key_of_program(name: str) -> str:
    """The alert of a program that ends again and again, or does not start."""
    return f"{PROGRAM}{name}"


def log_of(settings: Settings, name: str) -> Path:
    """Where a program of `make up` writes."""
    return settings.data_dir / "logs" / f"{name}.log"


def database(since: datetime, why: str) -> Notification:
    return Notification(
        key=DATABASE,
        severity="critical",
        what="the database does not answer",
        detail=why,
        since=since,
        kept="what was published is in it; raw pages that are landed meanwhile stay. "
        "Runs that fail meanwhile are to be run again.",
        next=f"make status; {RUNBOOK}#the-database-does-not-answer",
    )


def prefect(since: datetime, why: str) -> Notification:
    return Notification(
        key=PREFECT,
        severity="critical",
        what="Prefect's server does not answer",
        detail=why,
        since=since,
        kept="published data and recommendations, and serving goes on; no run begins until it is back.",
        next=f"make status; {RUNBOOK}#prefects-server-does-not-answer",
    )


def serving(since: datetime, why: str) -> Notification:
    return Notification(
        key=SERVING,
        severity="critical",
        what="the serving API does not answer",
        detail=why,
        since=since,
        kept="the published lists; front ends get none until it is back.",
        next=f"make status; {RUNBOOK}#the-serving-api-does-not-answer",
    )


def least_on_disk(room: FreeSpace, settings: Settings) -> float:
    """Below so many bytes the disk counts as full."""
    return max(settings.alert_disk_free_share * room.total, settings.alert_disk_free_mb * 1024 * 1024)


def disk(since: datetime, room: FreeSpace, settings: Settings) -> Notification:
    return Notification(
        key=DISK,
        severity="critical",
        what="the disk of DATA_DIR is full or nearly so",
        detail=f"{in_mb(room)} are free; the limit is {settings.alert_disk_free_share:.0%} "
        f"or {settings.alert_disk_free_mb:,.0f} MB",
        since=since,
        kept="all that was published; a run that needs more room fails, changes nothing, and is to be run again.",
        next=f".venv/bin/python -m flows.maintain --retention-days 3; {RUNBOOK}#the-disk-is-full",
    )


def memory(since: datetime, room: FreeSpace, settings: Settings) -> Notification:
    return Notification(
        key=MEMORY,
        severity="warning",
        what="memory is nearly used up",
        detail=f"{in_mb(room)} are free; the limit is {settings.alert_memory_free_share:.0%}",
        since=since,
        kept="everything; the system may end processes, and a run that is ended changes nothing.",
        next=f"top -o %MEM; {RUNBOOK}#memory-is-nearly-used-up",
    )


def worker(since: datetime, why: str) -> Notification:
    return Notification(
        key=WORKER,
        severity="critical",
        what="no worker is there to run anything",
        detail=why,
        since=since,
        kept="what was published; runs that are due wait, and begin when a worker is there.",
        next=f"make status; {RUNBOOK}#no-worker-is-there",
    )


def program(since: datetime, name: str, how: str, settings: Settings) -> Notification:
    return Notification(
        key=key_of_program(name),
        severity="critical",
        what=f"{name} {how}",
        detail="it is started again and again; told to be over when it ran for ten minutes",
        since=since,
        kept="what was published. A run whose process ends with it is marked as crashed and told by itself.",
        next=f"make status; {log_of(settings, name)}; {RUNBOOK}#a-program-was-started-again",
    )


def unpublished(since: datetime, hours: float) -> Notification:
    return Notification(
        key=UNPUBLISHED,
        severity="critical",
        what="nothing was published by the set hour",
        detail=f"no ingest published anything, or found all unchanged, within {hours:g} hours",
        since=since,
        kept="what was published before is live.",
        next=f".venv/bin/python -m flows.ingest; {RUNBOOK}#nothing-was-published",
    )


def undeliverable(since: datetime, names: str, settings: Settings) -> Notification:
    return Notification(
        key=UNDELIVERABLE,
        severity="critical",
        what="alerts cannot be delivered",
        detail=f"{names} of ALERT_URLS takes nothing",
        since=since,
        kept=f"every message that waits, in {settings.data_dir / FOLDER}; they are sent when it takes them.",
        next=f".venv/bin/python -m notifications.send_test; {RUNBOOK}#alerts-cannot-be-delivered",
    )
