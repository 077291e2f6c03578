"""The topic on a Kafka broker: batches of messages of the partitions that the consumer group assigns to this process.

Offsets are kept in Postgres, by the id of the topic, and never committed to Kafka: so messages are stored exactly once,
and a topic that was deleted and created again is consumed from its beginning.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from core.errors import MoovitamixError
from core.settings import Settings
from streaming.messages import Message

_LOGGER = logging.getLogger(__name__)
# librdkafka reports each of these while a broker is away; the consumer reports the outage once.
_AWAY = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE, KafkaError._TIMED_OUT)
_SECONDS_TO_ANSWER = 5.0
# The next offset of a partition; None: the first message.
Positions = Callable[[int], int | None]


class BrokerUnavailable(MoovitamixError):
    """The broker does not answer, or does not have the topic. It may later."""


class TopicRecreated(MoovitamixError):
    """The topic was deleted and created again: its offsets start anew."""


def client_options(settings: Settings) -> dict[str, Any]:
    """Options of every Kafka client. They hold passwords."""
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
    """Consumes the topic. `topic_id` is its id when the consumer began."""

    def __init__(self, settings: Settings) -> None:
        self.name = settings.stream_topic
        self._admin = AdminClient(client_options(settings))
        self.topic_id = self.current_id()
        self.partitions: set[int] = set()
        self._away = False
        self._positions: Positions = lambda partition: None
        self._consumer = Consumer(
            client_options(settings)
            | {
                "group.id": settings.stream_group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "roundrobin",
                # A killed consumer's partitions go to another one within this time.
                "session.timeout.ms": 6000 if settings.stream_security_protocol != "PLAINTEXT" else 1000,
                "heartbeat.interval.ms": 300,
                "fetch.wait.max.ms": 100,
                "queued.max.messages.kbytes": 16_384,  # bounds the memory of any backlog
                "error_cb": self._on_error,
            }
        )

    def subscribe(self, positions: Positions) -> None:
        """Join the consumer group. `positions` is asked for each partition that the group assigns."""
        self._positions = positions
        self._consumer.subscribe([self.name], on_assign=self._on_assign, on_revoke=self._on_revoke)

    def receive(self, most: int, wait_seconds: float) -> list[Message]:
        """Up to `most` messages; none if nothing arrives in time. Raises BrokerUnavailable, TopicRecreated."""
        first = self._consumer.poll(wait_seconds)
        if first is None:
            if self._away:
                self.check_topic()
            return []
        messages = [message for message in [first, *self._consumer.consume(most - 1, 0)] if self._is_usable(message)]
        if messages:
            # A broker that came back empty continues behind our offset, or reuses offsets.
            self.check_topic()
        return [_as_message(message) for message in messages]

    def rewind(self) -> None:
        """Consume the assigned partitions from the stored offsets again: nothing since then was stored."""
        for partition in sorted(self.partitions):
            self._consumer.seek(self._at(partition))

    def check_topic(self) -> None:
        """Raises TopicRecreated if the topic is another one than at the beginning, BrokerUnavailable."""
        if self.current_id() != self.topic_id:
            raise TopicRecreated(f"the topic {self.name} was deleted and created again")
        self._away = False

    def current_id(self) -> str:
        """The id of the topic on the broker. Raises BrokerUnavailable."""
        try:
            topics = self._admin.describe_topics(TopicCollection([self.name]), request_timeout=_SECONDS_TO_ANSWER)
            return str(topics[self.name].result(_SECONDS_TO_ANSWER + 1).topic_id)
        except (KafkaException, TimeoutError) as error:
            reason = error.args[0].str() if isinstance(error, KafkaException) else "no answer in time"
            raise BrokerUnavailable(f"the broker does not answer for topic {self.name}: {reason}") from error

    def lag(self) -> int:
        """How many messages of the assigned partitions are not consumed yet. Raises BrokerUnavailable."""
        try:
            positions = self._consumer.position([TopicPartition(self.name, number) for number in self.partitions])
            waiting = 0
            for position in positions:
                low, high = self._consumer.get_watermark_offsets(position, _SECONDS_TO_ANSWER, cached=False)
                waiting += max(0, high - (position.offset if position.offset >= 0 else low))
            return waiting
        except KafkaException as error:
            raise BrokerUnavailable(f"the broker does not tell the lag: {error.args[0].str()}") from error

    def close(self) -> None:
        """Leave the consumer group."""
        self._consumer.close()

    def _on_assign(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self.partitions = {partition.partition for partition in partitions}
        consumer.assign([self._at(number) for number in sorted(self.partitions)])
        _LOGGER.info("partitions %s of %s are assigned", sorted(self.partitions), self.name)

    def _on_revoke(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self.partitions -= {partition.partition for partition in partitions}
        consumer.unassign()

    def _at(self, partition: int) -> TopicPartition:
        position = self._positions(partition)
        return TopicPartition(self.name, partition, OFFSET_BEGINNING if position is None else position)

    def _is_usable(self, message: Any) -> bool:
        if message.error() is None:
            return message.partition() in self.partitions
        if message.error().code() not in _AWAY:
            _LOGGER.warning("the broker reports %s", message.error().str())
        return False

    def _on_error(self, error: KafkaError) -> None:
        if not self._away and error.code() in _AWAY:
            _LOGGER.warning("the broker is unavailable: %s", error.str())
        self._away = self._away or error.code() in _AWAY


def _as_message(message: Any) -> Message:
    return Message(message.partition(), message.offset(), message.value(), _sent_at(message))


def _sent_at(message: Any) -> float | None:
    kind, milliseconds = message.timestamp()
    return milliseconds / 1000 if kind else None
