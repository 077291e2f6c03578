"""The consumer: receives batches of messages, stores each in one transaction, and recommends to the users in it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

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


@dataclass
class Consumer:
    """Consumes until `stop` is called. Outages of the broker or the database do not end it, nor a recreated topic.

    While the database is unavailable it keeps its place in the consumer group. While the broker is unavailable it still
    follows new publications.
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
        try:
            while not self.stopped:
                try:
                    with connect(self.database_url) as connection:
                        self._consume(connection)
                except DatabaseError as error:
                    _LOGGER.warning("%s; trying again", error)
                    self._pause(_RETRY_SECONDS)
        finally:
            self._leave_topic()

    def _consume(self, connection: Connection) -> None:
        store: SessionStore | None = None
        joined: Transport | None = None
        waiting = WaitingSessions(self.settings, connection, self.clock, self.metrics)
        with closing(LiveModelLoader(self.settings, self.database_url, self.clock)) as loader:
            updates = RecommendationUpdates(self.settings, connection, self.clock, self.metrics, loader)
            while not self.stopped:
                is_behind = False
                try:
                    topic = self._join_topic()
                    if store is None or topic is not joined:
                        store, joined = SessionStore(connection, topic.resume(connection)), topic
                    is_behind = self._receive_and_store(topic, store, updates)
                except TopicRecreated as error:
                    _LOGGER.warning("%s; consuming it from its first message", error)
                    self._leave_topic()
                except BrokerUnavailable as error:
                    _LOGGER.warning("%s; trying again", error)
                    self._leave_topic()
                    self._pause(_RETRY_SECONDS)
                if updates.refresh(is_behind):
                    waiting.refresh()
                    self._observe_lag()
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

    def _receive_and_store(self, topic: Transport, store: SessionStore, updates: RecommendationUpdates) -> bool:
        """Receive and store a batch, and recommend to its users. Returns whether more messages wait."""
        wait_seconds = 0.0 if updates.has_more else self.settings.stream_wait_seconds
        messages = topic.receive(self.settings.stream_batch_messages, wait_seconds)
        if not messages:
            if topic.is_assigned:
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
        # While others wait, all messages are stored first, and the users are found by their changes.
        if not is_behind and updates.recommend_to(stored.changed_users):
            _observe_ages(self.metrics.play_to_list, stored.new_messages)
        self.metrics.batch_seconds.observe(time.monotonic() - began)
        self.after_batch(stored)
        return is_behind

    def _observe(self, stored: StoredBatch) -> None:
        metrics = self.metrics
        metrics.messages.inc(stored.messages)
        metrics.redelivered.inc(stored.redelivered)
        metrics.plays.inc(stored.plays)
        metrics.rejected.inc(stored.rejected)
        metrics.parked.inc(stored.parked)
        _observe_ages(metrics.play_to_commit, stored.new_messages)

    def _observe_lag(self) -> None:
        try:
            lag = None if self._topic is None else self._topic.lag()
        except BrokerUnavailable:
            lag = None
        self.metrics.lag_messages.set(math.nan if lag is None else lag)

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
