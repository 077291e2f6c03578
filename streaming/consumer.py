"""The consumer: receives batches of messages, stores each in one transaction, and recommends to the users in it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Histogram

from core.clock import Clock
from core.database import Connection, connect
from core.errors import DatabaseError
from core.settings import Settings
from streaming.lag import ConsumerLag
from streaming.live_model import LiveModelLoader
from streaming.messages import Message
from streaming.metrics import StreamMetrics
from streaming.minutes import MinuteRecorder
from streaming.recommendation_updates import RecommendationUpdates
from streaming.store import SessionStore, StoredBatch
from streaming.transport import BrokerUnavailable, PartitionLost, TopicRecreated, Transport
from streaming.transports import open_transport
from streaming.waiting_sessions import WaitingSessions

_LOGGER = logging.getLogger(__name__)
_RETRY_SECONDS = 1.0
_NETWORK: Mapping[str, Any] = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 5,
    "tcp_user_timeout": 15_000,
}
_SESSION = {"idle_in_transaction_session_timeout": "60s", "lock_timeout": "60s"}


@dataclass
class Consumer:
    """Consumes until `stop` is called. It survives outages of broker and database, and a recreated topic.

    While the database is unavailable it keeps its model, and its place in the consumer group (with Kafka for five
    minutes). While the broker is unavailable it still follows new publications.
    """

    settings: Settings
    database_url: str
    clock: Clock
    metrics: StreamMetrics = field(default_factory=StreamMetrics)
    stopped: bool = False
    # Called after each batch: for tests.
    after_batch: Callable[[StoredBatch], None] = lambda stored: None
    _topic: Transport | None = None

    def __post_init__(self) -> None:
        self.lag = ConsumerLag(self.settings.stream_wait_seconds)
        self.metrics.lag_seconds.set_function(self.lag.seconds)
        self.minutes = MinuteRecorder(self.metrics.registry)

    def stop(self) -> None:
        """Stop after the current batch."""
        self.stopped = True

    def run(self) -> None:
        """Consume. Raises SettingsError."""
        with closing(LiveModelLoader(self.settings, self.database_url, self.clock)) as loader:
            updates = RecommendationUpdates(self.settings, self.clock, self.metrics, loader)
            try:
                while not self.stopped:
                    try:
                        # If the network to the database or this machine is lost, no lock stays for long.
                        with connect(self.database_url, settings=_SESSION, **_NETWORK) as connection:
                            self._consume(connection, updates)
                    except DatabaseError as error:
                        _LOGGER.warning("%s; trying again", error)
                        self._pause(_RETRY_SECONDS)
            finally:
                self._leave_topic()

    def _consume(self, connection: Connection, updates: RecommendationUpdates) -> None:
        store: SessionStore | None = None
        joined: Transport | None = None
        waiting = WaitingSessions(self.settings, connection, self.clock, self.metrics)
        while not self.stopped:
            is_behind = False
            try:
                topic = self._join_topic()
                if store is None or topic is not joined:
                    store, joined = SessionStore(connection, topic.resume(connection)), topic
                is_behind = self._receive_and_store(topic, store, connection, updates)
                if updates.refresh(connection, is_behind):
                    self.metrics.lag_messages.set(math.nan if (lag := topic.refresh()) is None else lag)
                    waiting.refresh()
            except TopicRecreated as error:
                _LOGGER.warning("%s; consuming it from its first message", error)
                self._leave_topic()
            except BrokerUnavailable as error:
                _LOGGER.warning("%s; trying again", error)
                self._leave_topic()
                self.metrics.lag_messages.set(math.nan)
                if updates.refresh(connection):
                    waiting.refresh()
                self._pause(_RETRY_SECONDS)
            if store is not None and self.lag.is_known:
                self.minutes.refresh(connection, store.consumed.source, self.clock())
        if store is not None:
            self.minutes.save(connection, store.consumed.source, self.clock())

    def _join_topic(self) -> Transport:
        if self._topic is None:
            self._topic = open_transport(self.settings)
        return self._topic

    def _leave_topic(self) -> None:
        if self._topic is not None:
            self._topic.close()
        self._topic = None

    def _receive_and_store(
        self, topic: Transport, store: SessionStore, connection: Connection, updates: RecommendationUpdates
    ) -> bool:
        """Receive and store a batch, and recommend to its users. Returns whether more messages wait."""
        wait_seconds = 0.0 if updates.has_missed_users else self.settings.stream_wait_seconds
        messages = topic.receive(self.settings.stream_batch_messages, wait_seconds)
        if not messages:
            if topic.is_idle:
                self.lag.record_nothing_waits()
            return False
        began = time.monotonic()
        try:
            stored = store.store(messages, self.clock())
        except PartitionLost as error:
            _LOGGER.warning("%s; consuming from there", error)
            topic.rewind()
            return False
        topic.acknowledge()
        self.lag.record_stored(messages)
        self._observe(stored)
        is_behind = len(messages) >= min(self.settings.stream_batch_messages, topic.max_messages)
        updates.record_plays(stored.changed_users)
        if not is_behind:  # otherwise all messages are stored first, and the users are found by their changes
            updates.recommend_to(connection, list(stored.changed_users))
        self.metrics.batch_seconds.observe(time.monotonic() - began)
        self.after_batch(stored)
        return is_behind

    def _observe(self, stored: StoredBatch) -> None:
        metrics = self.metrics
        metrics.messages.inc(stored.messages)
        metrics.redelivered.inc(stored.redelivered)
        metrics.skipped.inc(stored.skipped)
        metrics.plays.inc(stored.plays)
        metrics.rejected.inc(stored.rejected)
        metrics.parked.inc(stored.parked)
        _observe_ages(metrics.play_to_commit, stored.new_messages)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self.stopped and time.monotonic() < until:
            time.sleep(0.05)


def _observe_ages(histogram: Histogram, messages: Sequence[Message]) -> None:
    """Add the age of each message that has a time to the histogram."""
    now = time.time()
    for message in messages:
        if message.sent_at is not None:
            histogram.observe(max(0.0, now - message.sent_at))
