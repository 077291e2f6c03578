"""Consume batches of messages from a Kafka topic. The consumer group assigns partitions to this process.

Postgres stores the offsets with the messages, in one transaction. Nothing is committed to Kafka. Each message is
therefore stored exactly once. Offsets are stored per topic id, so a topic that is deleted and created again is consumed
from its beginning.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from core.database import Connection
from core.errors import SettingsError
from core.settings import Settings
from streaming.messages import Message
from streaming.offsets import Offsets
from streaming.transport import BrokerUnavailable, TopicRecreated

_LOGGER = logging.getLogger(__name__)
# librdkafka repeats these errors while the broker is unavailable. The consumer logs an outage once.
_OUTAGE_ERRORS = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE, KafkaError._TIMED_OUT)
_REQUEST_TIMEOUT_SECONDS = 5.0
_JOIN_SECONDS = 3.0


def client_options(settings: Settings) -> dict[str, Any]:
    """Return the connection options of every Kafka client. They contain passwords."""
    options: dict[str, Any] = {
        "bootstrap.servers": settings.stream_bootstrap_servers,
        "security.protocol": settings.stream_security_protocol,
        "logger": logging.getLogger("librdkafka"),
    }
    if settings.stream_security_protocol.startswith("SASL"):
        options |= {
            "sasl.mechanism": settings.stream_sasl_mechanism,
            "sasl.username": settings.stream_sasl_username,
            "sasl.password": settings.stream_sasl_password.get_secret_value(),
        }
    files = {
        "ssl.ca.location": settings.stream_ssl_ca_file,
        "ssl.certificate.location": settings.stream_ssl_certificate_file,
        "ssl.key.location": settings.stream_ssl_key_file,
    }
    options |= {name: str(file) for name, file in files.items() if file is not None}
    if password := settings.stream_ssl_key_password.get_secret_value():
        options["ssl.key.password"] = password
    return options


class KafkaTopic:
    """A consumer of one topic. `topic_id` is the id of the topic when the consumer was created.

    Raises SettingsError, BrokerUnavailable.
    """

    def __init__(self, settings: Settings) -> None:
        self.name = settings.stream_topic
        self._admin = _make_admin(settings)
        self.topic_id = self.current_id()
        self.partitions: set[int] = set()
        # Whether the group has assigned its partitions; a consumer may get none of them.
        self.is_assigned = False
        self.max_messages = sys.maxsize
        self._is_broker_unavailable = False
        self._offsets: Offsets | None = None
        # The ends of the partitions, as of a second ago; None if the broker does not report them.
        self._ends: dict[int, int] | None = None
        self._end_answers: dict[TopicPartition, Future[Any]] = {}
        self._requested_at = 0.0
        self._consumer = Consumer(
            client_options(settings)
            | {
                "group.id": settings.stream_group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "roundrobin",
                # If a consumer is killed, the group reassigns its partitions after this time.
                "session.timeout.ms": int(settings.stream_session_timeout_seconds * 1000),
                "heartbeat.interval.ms": 300,
                "fetch.wait.max.ms": 100,
                "queued.max.messages.kbytes": 16_384,  # bounds the memory of any backlog
                "error_cb": self._on_error,
            }
        )
        self._consumer.subscribe([self.name], on_assign=self._on_assign, on_revoke=self._on_revoke)

    def resume(self, connection: Connection) -> Offsets:
        """Consume each assigned partition from the offset that the database has. Call it before `receive`.

        Another call reads the offsets again, also of the assigned partitions. Raises BrokerUnavailable, DatabaseError.
        """
        self._offsets = Offsets(connection, self.name, self.topic_id)
        self.rewind()
        return self._offsets

    def receive(self, max_messages: int, wait_seconds: float) -> list[Message]:
        """Return up to `max_messages`, or none if nothing arrives in time.

        Raises BrokerUnavailable, TopicRecreated.
        """
        try:
            first = self._consumer.poll(wait_seconds)
            received = [] if first is None else [first, *self._consumer.consume(max_messages - 1, 0)]
        except KafkaException as error:
            raise BrokerUnavailable(f"messages of {self.name} cannot be received: {_text(error)}") from error
        if not received:
            if self._is_broker_unavailable:
                self.check_topic()
            return []
        messages = [message for message in received if self._is_usable(message)]
        if messages:
            # A broker that restarts without its data assigns the same offsets to new messages.
            self.check_topic()
        return [_as_message(message) for message in messages]

    def acknowledge(self) -> None:
        """Do nothing: the offsets in the database say what is stored."""

    def rewind(self) -> None:
        """Consume the assigned partitions from their positions again. Later messages were received but not stored.

        Raises BrokerUnavailable.
        """
        if not self.partitions:
            return
        try:
            self._consumer.assign([self._start_position(partition) for partition in sorted(self.partitions)])
        except KafkaException as error:
            raise BrokerUnavailable(f"partitions of {self.name} cannot be assigned: {_text(error)}") from error

    def check_topic(self) -> None:
        """Raise TopicRecreated if the id on the broker differs from `topic_id`. Also raises BrokerUnavailable."""
        if self.current_id() != self.topic_id:
            raise TopicRecreated(f"the topic {self.name} was deleted and created again")
        self._is_broker_unavailable = False

    def current_id(self) -> str:
        """Return the topic's id on the broker. Raises BrokerUnavailable."""
        return str(_describe(self._admin, self.name).topic_id)

    @property
    def is_idle(self) -> bool:
        """Whether the group has assigned partitions, and the broker reports their ends."""
        return self.is_assigned and self._lag() is not None

    def refresh(self) -> int | None:
        """Once a second: follow a replay. Returns the number of unconsumed messages, None if it is unknown.

        Never waits: it reads the answer to the request of the previous second. Raises BrokerUnavailable, DatabaseError.
        """
        if self._offsets is not None and self._offsets.have_moved():
            self.rewind()
        if self._end_answers:
            are_done = all(answer.done() for answer in self._end_answers.values())
            if not are_done and time.monotonic() - self._requested_at < _REQUEST_TIMEOUT_SECONDS:
                return self._lag()
            self._ends = _ends_of(self._end_answers) if are_done else None
        self._ask_for_ends()
        return self._lag()

    def _ask_for_ends(self) -> None:
        self._requested_at, self._end_answers = time.monotonic(), {}
        if not self.partitions:
            self._ends = {} if self.is_assigned else None
            return
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        partitions = [TopicPartition(self.name, partition) for partition in sorted(self.partitions)]
        self._end_answers = self._admin.list_offsets(
            dict.fromkeys(partitions, latest), request_timeout=_REQUEST_TIMEOUT_SECONDS
        )

    def _lag(self) -> int | None:
        if self._ends is None or self._offsets is None or not self._ends.keys() >= self.partitions:
            return None
        return self._offsets.count_unconsumed({partition: self._ends[partition] for partition in self.partitions})

    def close(self) -> None:
        """Leave the consumer group, but not while joining it: that blocks the group of the local broker."""
        if self._is_broker_unavailable:
            self.is_assigned = False  # when the broker is back, the client joins again
        self._offsets = None  # the connection to the database may be closed
        until = time.monotonic() + _JOIN_SECONDS
        with suppress(KafkaException):
            while not self.is_assigned and time.monotonic() < until:
                self._consumer.poll(0.05)
        self._consumer.close()

    def _on_assign(self, _: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self.partitions = {partition.partition for partition in partitions}
        self.is_assigned = True
        self.rewind()
        _LOGGER.info("partitions %s of %s are assigned", sorted(self.partitions), self.name)

    def _on_revoke(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self.partitions -= {partition.partition for partition in partitions}
        self.is_assigned = False
        consumer.unassign()

    def _start_position(self, partition: int) -> TopicPartition:
        position = None if self._offsets is None else self._offsets.next_offset(partition)
        return TopicPartition(self.name, partition, OFFSET_BEGINNING if position is None else position)

    def _is_usable(self, message: Any) -> bool:
        """Return whether this is a message of an assigned partition. Logs errors of the broker, except outages."""
        if message.error() is None:
            return message.partition() in self.partitions
        if message.error().code() == KafkaError.INVALID_SESSION_TIMEOUT:
            raise SettingsError(
                "wrong setting: STREAM_SESSION_TIMEOUT_SECONDS is outside the limits of the broker; see its settings "
                "group.min.session.timeout.ms and group.max.session.timeout.ms"
            )
        if message.error().code() not in _OUTAGE_ERRORS:
            _LOGGER.warning("the broker reports %s", message.error().str())
        return False

    def _on_error(self, error: KafkaError) -> None:
        """Log the start of an outage once. `check_topic` resets the flag."""
        if not self._is_broker_unavailable and error.code() in _OUTAGE_ERRORS:
            _LOGGER.warning("the broker is unavailable: %s", error.str())
        self._is_broker_unavailable = self._is_broker_unavailable or error.code() in _OUTAGE_ERRORS


def _ends_of(answers: dict[TopicPartition, Future[Any]]) -> dict[int, int] | None:
    try:
        return {partition.partition: answer.result().offset for partition, answer in answers.items()}
    except (KafkaException, TimeoutError) as error:
        error.__traceback__ = None  # see _broker_unavailable
        return None


@dataclass(frozen=True)
class TopicState:
    """The id of a topic on the broker, and an offset of each partition."""

    topic_id: str
    offsets: dict[int, int]


def read_topic_state(settings: Settings, since: datetime | None = None) -> TopicState:
    """Ask the broker for the end of each partition, or for its first message since a time.

    Takes a few seconds at most. A partition without such a message is left out. The local broker reports ends that are
    too low by the last produced batch. Without a message since the time, it reports its first message.

    Raises SettingsError, BrokerUnavailable.
    """
    admin, topic = _make_admin(settings), settings.stream_topic
    description = _describe(admin, topic)
    partitions = [TopicPartition(topic, partition.id) for partition in description.partitions]
    spec = OffsetSpec.latest() if since is None else OffsetSpec.for_timestamp(int(since.timestamp() * 1000))  # type: ignore[no-untyped-call]
    try:
        answers = admin.list_offsets(dict.fromkeys(partitions, spec), request_timeout=_REQUEST_TIMEOUT_SECONDS)
        offsets = {
            partition.partition: answer.result(_REQUEST_TIMEOUT_SECONDS + 1).offset
            for partition, answer in answers.items()
        }
    except (KafkaException, TimeoutError) as error:
        raise _broker_unavailable(topic, error) from error
    return TopicState(
        str(description.topic_id), {partition: offset for partition, offset in offsets.items() if offset >= 0}
    )


def _make_admin(settings: Settings) -> AdminClient:
    try:
        return AdminClient(client_options(settings))
    except KafkaException as error:
        raise SettingsError(f"wrong setting: Kafka's client refuses STREAM_... settings: {_text(error)}") from error


def _describe(admin: AdminClient, topic: str) -> Any:
    """The broker's description of the topic. Raises BrokerUnavailable."""
    try:
        topics = admin.describe_topics(TopicCollection([topic]), request_timeout=_REQUEST_TIMEOUT_SECONDS)
        return topics[topic].result(_REQUEST_TIMEOUT_SECONDS + 1)
    except (KafkaException, TimeoutError) as error:
        raise _broker_unavailable(topic, error) from error


def _broker_unavailable(topic: str, error: KafkaException | TimeoutError) -> BrokerUnavailable:
    # The client keeps the error, and the frames of its traceback keep the client with its threads and sockets. In a
    # long outage the garbage collector ends this cycle too late.
    error.__traceback__ = None
    reason = _text(error) if isinstance(error, KafkaException) else "no answer in time"
    return BrokerUnavailable(f"the broker does not answer for topic {topic}: {reason}")


def _text(error: KafkaException) -> str:
    return str(error.args[0].str())


def _as_message(message: Any) -> Message:
    return Message(message.value(), _sent_at(message), message.partition(), message.offset())


def _sent_at(message: Any) -> float | None:
    kind, milliseconds = message.timestamp()
    return milliseconds / 1000 if kind else None
