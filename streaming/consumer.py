"""The consumer: receives batches of messages, stores each in one transaction, and recommends to the users in it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta

from prometheus_client import Histogram

from core.clock import Clock
from core.database import Connection, connect, readable_errors
from core.errors import DatabaseError, MoovitamixError, named_errors
from core.queries import load_query
from core.settings import Settings
from recommender.data.mart_reader import newest_batches
from recommender.publishing.model_runs import find_champion
from streaming.fresh_recommendations import FreshList, LiveModel, load_live_model, recommend_to_users, save_lists
from streaming.kafka import KafkaTopic
from streaming.lag import ConsumerLag
from streaming.messages import Message
from streaming.metrics import StreamMetrics
from streaming.minutes import MinuteRecorder
from streaming.store import SessionStore, StoredBatch
from streaming.transport import BrokerUnavailable, PartitionLost, TopicRecreated, Transport

_LOGGER = logging.getLogger(__name__)
_USERS_PER_STEP = 500
_REJECTION_SECONDS = 60.0
_REFRESH_SECONDS = 1.0
_RETRY_SECONDS = 1.0
_MODEL_RETRY_SECONDS = 60.0


@dataclass
class Consumer:
    """Consumes until `stop` is called. Reconnects after an outage of the broker or the database."""

    settings: Settings
    database_url: str
    clock: Clock
    metrics: StreamMetrics = field(default_factory=StreamMetrics)
    stopped: bool = False
    # Called after each batch: for tests.
    after_batch: Callable[[StoredBatch], None] = lambda stored: None

    def __post_init__(self) -> None:
        self.lag = ConsumerLag(self.settings.stream_wait_seconds)
        self.metrics.lag_seconds.set_function(self.lag.seconds)
        self.minutes = MinuteRecorder(self.metrics.registry)

    def stop(self) -> None:
        """Stop after the current batch."""
        self.stopped = True

    def run(self) -> None:
        """Consume. Outages and a recreated topic do not end it. Raises SettingsError."""
        while not self.stopped:
            try:
                with closing(KafkaTopic(self.settings)) as topic:
                    self._consume(topic)
            except TopicRecreated as error:
                _LOGGER.warning("%s; consuming it from its first message", error)
            except BrokerUnavailable as error:
                _LOGGER.warning("%s; trying again", error)
                self._pause(_RETRY_SECONDS)

    def _consume(self, topic: Transport) -> None:
        """Consume the topic. During an outage of the database, this process keeps its place in the consumer group."""
        while not self.stopped:
            try:
                with connect(self.database_url) as connection:
                    self._store_messages(topic, connection)
            except DatabaseError as error:
                _LOGGER.warning("%s; trying again", error)
                self._pause(_RETRY_SECONDS)

    def _store_messages(self, topic: Transport, connection: Connection) -> None:
        store = SessionStore(connection, topic.resume(connection))
        recommendations = FreshRecommendations(self.settings, connection, self.clock, self.metrics)
        recommendations.refresh()
        waiting = WaitingSessions(self.settings, store, self.clock, self.metrics)
        while not self.stopped:
            self._receive_and_store(topic, store, recommendations, waiting)
        self.minutes.save(connection, store.consumed.source, self.clock())

    def _receive_and_store(
        self, topic: Transport, store: SessionStore, recommendations: FreshRecommendations, waiting: WaitingSessions
    ) -> None:
        messages = topic.receive(self.settings.stream_batch_messages, self.settings.stream_wait_seconds)
        began = time.monotonic()
        if messages:
            try:
                stored = store.store(messages, self.clock())
            except PartitionLost as error:
                _LOGGER.warning("%s; consuming from there", error)
                topic.rewind()
                return
            topic.acknowledge()
            self.lag.record_stored(messages)
            self._observe(stored)
            recommendations.recommend_to(stored.changed_users)
            _observe_ages(self.metrics.play_to_list, stored.new_messages)
            self.metrics.batch_seconds.observe(time.monotonic() - began)
            self.after_batch(stored)
        elif topic.is_assigned:
            self.lag.record_nothing_waits()
        if recommendations.refresh():
            waiting.refresh()
            lag = topic.lag()
            self.metrics.lag_messages.set(math.nan if lag is None else lag)
            self.minutes.refresh(store.connection, store.consumed.source, self.clock())

    def _observe(self, stored: StoredBatch) -> None:
        metrics = self.metrics
        metrics.messages.inc(stored.messages)
        metrics.redelivered.inc(stored.redelivered)
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


@dataclass
class WaitingSessions:
    """Sessions that wait for the warehouse: parked ones for users and tracks, others for the snapshot that has them."""

    settings: Settings
    store: SessionStore
    clock: Clock
    metrics: StreamMetrics
    _batches: tuple[str, ...] = ()
    _rejected_at: float = float("-inf")

    def refresh(self) -> None:
        """Release and confirm after each new batch, and reject once a minute. Raises DatabaseError."""
        batches = tuple(newest_batches(self.store.connection))
        if batches != self._batches:
            self.store.release_parked()
            self.store.confirm_published()
            self._batches = batches
        elif time.monotonic() - self._rejected_at < _REJECTION_SECONDS:
            return
        now = self.clock()
        rejected = self.store.reject_overdue_parked(now - timedelta(days=self.settings.stream_parked_days), now)
        self._rejected_at = time.monotonic()
        self.metrics.rejected.inc(rejected)
        if rejected:
            _LOGGER.warning("%d parked sessions are rejected: a user or track was not published in time", rejected)


@dataclass
class FreshRecommendations:
    """Updates fresh recommendations after each new publication and each stored session."""

    settings: Settings
    connection: Connection
    clock: Clock
    metrics: StreamMetrics
    live: LiveModel | None = None
    _refreshed_at: float = float("-inf")
    # A model that cannot be loaded is tried again after a while, or with the next publication or batch.
    _failed: tuple[object, ...] = ()
    _retry_at: float = float("-inf")

    def recommend_to(self, user_ids: Sequence[int]) -> None:
        """Recommend to users whose sessions changed. Raises DatabaseError."""
        if not self.settings.stream_fresh or self.live is None or not user_ids:
            return
        for begin in range(0, len(user_ids), _USERS_PER_STEP):
            self._recommend(user_ids[begin : begin + _USERS_PER_STEP])

    def refresh(self) -> bool:
        """Once a second: follow the live publication, and recommend to users who were missed.

        Returns whether it did. Raises DatabaseError.
        """
        if time.monotonic() - self._refreshed_at < _REFRESH_SECONDS:
            return False
        self._refreshed_at = time.monotonic()
        if not self.settings.stream_fresh:
            with readable_errors():
                self.connection.execute(load_query("stream/fresh_recommendations.delete_all"))
            return True
        self._follow_publication()
        if self.live is not None:
            self._recommend_to_missed()
        return True

    def _follow_publication(self) -> None:
        champion, batches = find_champion(self.connection), tuple(newest_batches(self.connection))
        if champion is None or (self.live and self.live.champion == champion and self.live.batches == batches):
            return
        if self._failed == (champion, batches) and time.monotonic() < self._retry_at:
            return
        try:
            with named_errors():
                self.live = load_live_model(self.connection, champion, batches, self.settings, self.clock())
        except DatabaseError:
            raise
        except MoovitamixError as error:
            _LOGGER.warning("no fresh recommendations: %s", error)
            self.live = None
            self._failed, self._retry_at = (champion, batches), time.monotonic() + _MODEL_RETRY_SECONDS
            return
        self.metrics.model_loads.inc()
        with readable_errors():
            self.connection.execute(
                load_query("stream/fresh_recommendations.delete_other_publications"),
                {"publication_id": champion.publication_id},
            )

    def _recommend_to_missed(self) -> None:
        """Recommend to users whose changes were stored before a consumer ended, or for another publication."""
        if self.live is None:
            return
        values = {"publication_id": self.live.champion.publication_id, "max_users": _USERS_PER_STEP}
        with readable_errors():
            rows = self.connection.execute(
                load_query("stream/fresh_recommendations.find_stale_users"), values
            ).fetchall()
        if rows:
            self._recommend([user_id for user_id, _ in rows])
            if len(rows) == _USERS_PER_STEP:
                self._refreshed_at = float("-inf")

    def _recommend(self, user_ids: Sequence[int]) -> None:
        if self.live is None:
            return
        now = self.clock()
        with readable_errors():
            changes = dict(
                self.connection.execute(
                    load_query("stream/fresh_recommendations.find_changes"), {"user_ids": list(user_ids)}
                ).fetchall()
            )
        try:
            with named_errors():
                lists = recommend_to_users(
                    self.connection,
                    self.live,
                    list(changes),
                    now=now,
                    list_length=self.settings.recommendations_per_user,
                )
        except DatabaseError:
            raise
        except MoovitamixError as error:
            # Sessions are still stored. The users are tried again after their next session or the next publication.
            _LOGGER.warning("no fresh recommendations for %d users: %s", len(changes), error)
            lists = [FreshList(user_id, [], [], f"the model failed: {error}") for user_id in changes]
        saved, failed = save_lists(self.connection, self.live, lists, changes, now)
        self.metrics.lists.inc(saved)
        self.metrics.failed_lists.inc(failed)
