"""The notifications of the watchdog, about the state of the machine and its services.

Notifications about runs and events belong in `automations.yaml`, because Prefect's server sends them. While it is down,
the watchdog reports missing publications too.
"""

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
STREAM_BROKER, STREAM_CONSUMER, STREAM_LAG = "stream-broker", "stream-consumer", "stream-lag"
STREAM_REJECTED, STREAM_TOPIC = "stream-rejected", "stream-topic"
STREAM = (STREAM_BROKER, STREAM_CONSUMER, STREAM_LAG, STREAM_REJECTED, STREAM_TOPIC)
# The processes of `make up` behind the key of an incident.
PROCESSES_OF = {
    DATABASE: ("postgres",),
    PREFECT: ("prefect-server",),
    SERVING: ("serving",),
    WORKER: ("worker", "worker-models"),
    STREAM_BROKER: ("kafka",),
    STREAM_CONSUMER: ("stream",),
}
PROCESS_PREFIX = "program:"


def process_incident_key(name: str) -> str:
    return f"{PROCESS_PREFIX}{name}"


def process_log(settings: Settings, name: str) -> Path:
    return DataLayout(settings.data_dir).log(name)


def database(since: datetime, detail: str) -> Notification:
    return Notification(
        key=DATABASE,
        severity="critical",
        summary="the database does not answer",
        detail=detail,
        since=since,
        unaffected="published data, and raw pages that are landed meanwhile. Repeat the runs that fail meanwhile.",
        next=f"make status; {RUNBOOK}#the-database-does-not-answer",
    )


def prefect(since: datetime, detail: str) -> Notification:
    return Notification(
        key=PREFECT,
        severity="critical",
        summary="Prefect's server does not answer",
        detail=detail,
        since=since,
        unaffected="published data and the serving API. No run starts until it is back.",
        next=f"make status; {RUNBOOK}#prefects-server-does-not-answer",
    )


def serving(since: datetime, detail: str) -> Notification:
    return Notification(
        key=SERVING,
        severity="critical",
        summary="the serving API does not answer",
        detail=detail,
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


def worker(since: datetime, detail: str) -> Notification:
    return Notification(
        key=WORKER,
        severity="critical",
        summary="no worker is online",
        detail=detail,
        since=since,
        unaffected="published data. Due runs wait, and start when a worker is online.",
        next=f"make status; {RUNBOOK}#no-worker-is-online",
    )


def stream_broker(since: datetime, detail: str) -> Notification:
    return Notification(
        key=STREAM_BROKER,
        severity="critical",
        summary="the broker of the stream does not answer",
        detail=detail,
        since=since,
        unaffected="recommendations and stored sessions. Senders must repeat what the broker does not accept.",
        next=f".venv/bin/moovitamix stream status; {RUNBOOK}#the-broker-of-the-stream-does-not-answer",
    )


def stream_consumer(since: datetime, detail: str) -> Notification:
    return Notification(
        key=STREAM_CONSUMER,
        severity="critical",
        summary="no consumer of the stream is running",
        detail=detail,
        since=since,
        unaffected="recommendations, and messages in the topic. A consumer continues where the previous one ended.",
        next=f".venv/bin/moovitamix stream status; {RUNBOOK}#no-consumer-of-the-stream-is-running",
    )


def stream_lag(since: datetime, detail: str, settings: Settings) -> Notification:
    return Notification(
        key=STREAM_LAG,
        severity="warning",
        summary="the consumer of the stream lags behind",
        detail=f"{detail}; the limit is {settings.alert_stream_lag_seconds:g} s (ALERT_STREAM_LAG_SECONDS)",
        since=since,
        unaffected="all messages, as long as the broker retains them. Fresh recommendations come late.",
        next=f".venv/bin/moovitamix stream status; {RUNBOOK}#the-consumer-of-the-stream-lags-behind",
    )


def stream_rejected(since: datetime, detail: str, settings: Settings) -> Notification:
    return Notification(
        key=STREAM_REJECTED,
        severity="warning",
        summary="many messages of the stream are rejected",
        detail=f"{detail}; the limit is {settings.alert_stream_rejected_share:.0%} (ALERT_STREAM_REJECTED_SHARE)",
        since=since,
        unaffected="valid messages. The text of rejected ones stays in ops.rejected_rows for RETENTION_DAYS.",
        next=f"make psql; {RUNBOOK}#many-messages-of-the-stream-are-rejected",
    )


def stream_topic(since: datetime, topic: str) -> Notification:
    return Notification(
        key=STREAM_TOPIC,
        severity="warning",
        summary="the topic of the stream was created again",
        detail=f"{topic} has another id; the consumer reads it from its first message",
        since=since,
        unaffected="stored sessions. Messages of the old topic that were not consumed are lost; the nightly snapshot "
        "has their sessions.",
        next=f".venv/bin/moovitamix stream status; {RUNBOOK}#the-topic-of-the-stream-was-created-again",
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
        detail=f"no ingest published a batch or found all batches unchanged within {hours:g} hours",
        since=since,
        unaffected="the previously published data; it is still live.",
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
