"""The notifications of the watchdog: summary, what is unaffected, and the next step."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from core.data_layout import DataLayout
from core.runbook import RUNBOOK
from core.settings import Settings
from notifications.health_checks import FreeSpace, in_mb
from notifications.incidents import DATABASE, DISK, PREFECT, SERVING, UNDELIVERABLE
from notifications.notification import Notification

MEMORY, UNPUBLISHED, WORKER = "memory", "nothing-published", "worker"
# The process of `make up` behind the key of an incident.
PROCESS_OF = {DATABASE: "postgres", PREFECT: "prefect-server", SERVING: "serving", WORKER: "worker"}
PROCESS_PREFIX = "program:"


def process_incident_key(name: str) -> str:
    return f"{PROCESS_PREFIX}{name}"


def process_log(settings: Settings, name: str) -> Path:
    return DataLayout(settings.data_dir).log(name)


def database(since: datetime, why: str) -> Notification:
    return Notification(
        key=DATABASE,
        severity="critical",
        summary="the database does not answer",
        detail=why,
        since=since,
        unaffected="published data, and raw pages that are landed meanwhile. Repeat the runs that fail meanwhile.",
        next=f"make status; {RUNBOOK}#the-database-does-not-answer",
    )


def prefect(since: datetime, why: str) -> Notification:
    return Notification(
        key=PREFECT,
        severity="critical",
        summary="Prefect's server does not answer",
        detail=why,
        since=since,
        unaffected="published data and the serving API. No run starts until it is back.",
        next=f"make status; {RUNBOOK}#prefects-server-does-not-answer",
    )


def serving(since: datetime, why: str) -> Notification:
    return Notification(
        key=SERVING,
        severity="critical",
        summary="the serving API does not answer",
        detail=why,
        since=since,
        unaffected="published recommendations. Front ends receive none until it is back.",
        next=f"make status; {RUNBOOK}#the-serving-api-does-not-answer",
    )


def disk_limit(space: FreeSpace, settings: Settings) -> float:
    """Return the number of free bytes below which the disk counts as full."""
    return max(settings.alert_disk_free_share * space.total, settings.alert_disk_free_mb * 1024 * 1024)


def disk(since: datetime, space: FreeSpace, settings: Settings) -> Notification:
    return Notification(
        key=DISK,
        severity="critical",
        summary="the disk of DATA_DIR is full or almost full",
        detail=f"{in_mb(space)} are free; the limit is {settings.alert_disk_free_share:.0%} "
        f"or {settings.alert_disk_free_mb:,.0f} MB",
        since=since,
        unaffected="published data. A run that needs more space fails without changes; repeat it later.",
        next=f".venv/bin/python -m flows.maintain --retention-days 3; {RUNBOOK}#the-disk-is-full",
    )


def memory(since: datetime, space: FreeSpace, settings: Settings) -> Notification:
    return Notification(
        key=MEMORY,
        severity="warning",
        summary="memory is almost full",
        detail=f"{in_mb(space)} are free; the limit is {settings.alert_memory_free_share:.0%}",
        since=since,
        unaffected="everything. The system may kill processes; a killed run changes nothing.",
        next=f"top -o %MEM; {RUNBOOK}#memory-is-almost-full",
    )


def worker(since: datetime, why: str) -> Notification:
    return Notification(
        key=WORKER,
        severity="critical",
        summary="no worker is online",
        detail=why,
        since=since,
        unaffected="published data. Due runs wait, and start when a worker is online.",
        next=f"make status; {RUNBOOK}#no-worker-is-online",
    )


def unstable_process(since: datetime, name: str, problem: str, settings: Settings) -> Notification:
    return Notification(
        key=process_incident_key(name),
        severity="critical",
        summary=f"{name} {problem}",
        detail="it is restarted each time; the incident closes when it has run for ten minutes",
        since=since,
        unaffected="what was published. A run that stops with it is marked as crashed, with its own notification.",
        next=f"make status; {process_log(settings, name)}; {RUNBOOK}#a-process-was-restarted",
    )


def unpublished(since: datetime, hours: float) -> Notification:
    return Notification(
        key=UNPUBLISHED,
        severity="critical",
        summary="nothing was published in time",
        detail=f"no ingest published a batch or found all unchanged within {hours:g} hours",
        since=since,
        unaffected="what was published before; it is still live.",
        next=f".venv/bin/python -m flows.ingest; {RUNBOOK}#nothing-was-published",
    )


def undeliverable(since: datetime, names: str, settings: Settings) -> Notification:
    outbox = DataLayout(settings.data_dir).notifications
    return Notification(
        key=UNDELIVERABLE,
        severity="critical",
        summary="notifications cannot be delivered",
        detail=f"{names} of ALERT_URLS does not accept messages",
        since=since,
        unaffected=f"all messages, in {outbox}. They are sent when the address accepts them.",
        next=f".venv/bin/python -m notifications.send_test; {RUNBOOK}#notifications-cannot-be-delivered",
    )
