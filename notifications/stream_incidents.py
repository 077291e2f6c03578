"""Incidents of the stream: broker, consumer, lag, rejected messages, and a topic that was created again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

import psycopg

from core.clock import Clock
from core.errors import DatabaseError, MoovitamixError
from core.sessions import open_connection
from core.settings import Settings
from notifications import incident_types
from notifications.health_checks import DATABASE_SETTINGS, SECONDS, HealthUnknown, ProcessState
from notifications.incident_types import STREAM_BROKER, STREAM_CONSUMER, STREAM_LAG, STREAM_REJECTED, STREAM_TOPIC
from notifications.incidents import IncidentStore
from notifications.notification import Notification, format_time
from streaming import status
from streaming.status import ConsumerReport

# A consumer reports every ten seconds, but not while a batch takes longer.
_SILENCE = timedelta(minutes=2)
_WINDOW = timedelta(minutes=15)
# The share of a few messages says nothing.
_FEWEST_MESSAGES = 20
# A figure must fall below this share of its limit to close an incident, or it would open and close all day.
_CLOSING_FACTOR = 0.5
_NOTE_TOPIC = "stream_topic"


@dataclass(frozen=True)
class StreamActivity:
    """Reports of the consumers: the time of the last, the state of each consumer, and the messages of 15 minutes."""

    reported_at: datetime | None
    consumers: Sequence[ConsumerReport]
    messages: int
    rejected: int


@dataclass(frozen=True)
class StreamChecks:
    """`topic_id` asks the server for the id of the topic. It raises MoovitamixError, `activity` HealthUnknown."""

    topic: str
    topic_id: Callable[[], str]
    activity: Callable[[], StreamActivity]


class UpdateIncident(Protocol):
    """Opens or closes the incident of a part, and returns whether the part fails."""

    def __call__(
        self,
        key: str,
        problem: str | None,
        notification: Callable[[datetime, str], Notification],
        checks_before_notifying: int = 0,
    ) -> bool: ...


@dataclass
class StreamIncidents:
    """Opens and closes the incidents of the stream. `checks` is None if streaming is off."""

    settings: Settings
    store: IncidentStore
    checks: StreamChecks | None
    clock: Clock
    checks_before_notifying: int
    update: UpdateIncident
    _is_first: bool = True

    def check(self, processes: Sequence[ProcessState], *, database_fails: bool) -> None:
        """Check broker, topic and consumers once."""
        if self.checks is None:
            for key in incident_types.STREAM:
                self.store.close_incident(key)
            return
        topic_id = self._check_broker(self.checks)
        if topic_id is not None:
            self._note_topic(self.checks.topic, topic_id, processes)
        self._is_first = False
        (name,) = incident_types.PROCESSES_OF[STREAM_CONSUMER]
        process = next((process for process in processes if process.name == name), None)
        if process is not None and (process.stopped or process.down):
            problem = "it was stopped" if process.stopped else "it does not start"
            self.update(STREAM_CONSUMER, problem, incident_types.stream_consumer)
        elif topic_id is not None and not database_fails:
            try:
                activity = self.checks.activity()
            except HealthUnknown:
                return
            self._check_consumers(activity)
            self._check_topic(activity.consumers, topic_id)

    def _check_broker(self, checks: StreamChecks) -> str | None:
        """Return the id of the topic, or None if the broker does not answer."""
        try:
            topic_id, problem = checks.topic_id(), None
        except MoovitamixError as error:
            topic_id, problem = None, str(error)
        self.update(STREAM_BROKER, problem, incident_types.stream_broker)
        return topic_id

    def _note_topic(self, topic: str, topic_id: str, processes: Sequence[ProcessState]) -> None:
        """Open an incident if the topic has another id than at the last check.

        If `make up` starts a broker without messages, no incident opens.
        """
        note = {"topic": topic, "id": topic_id}
        noted = self.store.state().notes.get(_NOTE_TOPIC)
        if noted == note:
            return
        is_started_with_us = self._is_first and any(
            process.name in incident_types.PROCESSES_OF[STREAM_BROKER] for process in processes
        )
        if noted is not None and noted["topic"] == topic and not is_started_with_us:
            self.store.open_incident(incident_types.stream_topic(self.clock(), topic))
        with self.store.locked_state() as state:
            state.notes[_NOTE_TOPIC] = note

    def _check_consumers(self, activity: StreamActivity) -> None:
        now, settings = self.clock(), self.settings
        problem = None
        if activity.reported_at is None:
            problem = "none has reported yet"
        elif now - activity.reported_at > _SILENCE:
            problem = f"the last report is of {format_time(activity.reported_at)}"
        # A consumer that has just started, or returns to its broker or database, needs some time to report.
        self.update(STREAM_CONSUMER, problem, incident_types.stream_consumer, 3 * self.checks_before_notifying - 2)
        if activity.consumers:
            messages, seconds = status.total_lag(activity.consumers)
            limit = self._limit(STREAM_LAG, settings.alert_stream_lag_seconds)
            waiting = "" if messages is None else f", and {messages:,} wait"
            problem = f"messages are consumed {seconds:,.0f} s late{waiting}" if seconds > limit else None
            self.update(STREAM_LAG, problem, partial(incident_types.stream_lag, settings=settings))
        share = min(1.0, activity.rejected / activity.messages) if activity.messages else 0.0
        too_few = activity.messages < _FEWEST_MESSAGES and STREAM_REJECTED not in self._open_keys()
        limit = self._limit(STREAM_REJECTED, settings.alert_stream_rejected_share)
        problem = f"{activity.rejected:,} of {activity.messages:,} messages within 15 minutes ({share:.0%})"
        self.update(
            STREAM_REJECTED,
            problem if share > limit and not too_few else None,
            partial(incident_types.stream_rejected, settings=settings),
        )

    def _check_topic(self, consumers: Sequence[ConsumerReport], topic_id: str) -> None:
        """Close the incident of a topic that was created again when the new topic is consumed to its end."""
        # Reports name a Kafka topic with its id, and a Pub/Sub subscription, whose name is its id.
        names = (f"({topic_id})", topic_id)
        is_consumed = all(report.topic.endswith(names) and not report.lag_seconds for report in consumers)
        if consumers and is_consumed:
            self.store.close_incident(STREAM_TOPIC)

    def _limit(self, key: str, limit: float) -> float:
        return limit * _CLOSING_FACTOR if key in self._open_keys() else limit

    def _open_keys(self) -> set[str]:
        return {str(incident["key"]) for incident in self.store.state().open}


def stream_checks(settings: Settings, database_url: Callable[[], str], clock: Clock) -> StreamChecks | None:
    """The checks of the stream of these settings; None if streaming is off."""
    if not settings.is_streaming:
        return None
    logging.getLogger("librdkafka").setLevel(logging.CRITICAL)  # the incident says that the broker does not answer

    def topic_id() -> str:
        from streaming.transports import read_topic_id  # slow import, which only this check needs

        return read_topic_id(settings)

    topic = settings.stream_pubsub_subscription if settings.stream_transport == "pubsub" else settings.stream_topic
    return StreamChecks(topic, topic_id, lambda: read_activity(database_url(), clock()))


def read_activity(url: str, now: datetime) -> StreamActivity:
    """Read what the consumers reported. Raises HealthUnknown."""
    try:
        with open_connection(url, settings=DATABASE_SETTINGS, connect_timeout=SECONDS) as connection:
            messages, rejected = status.count_messages(connection, now - _WINDOW, now)
            return StreamActivity(
                status.newest_report_time(connection, now),
                status.current_consumers(connection, now),
                messages,
                rejected,
            )
    except (psycopg.Error, DatabaseError) as error:
        raise HealthUnknown from error
