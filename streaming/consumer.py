"""The consumer: receives batches of messages, stores each in one transaction, and recommends to the users in it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from core.clock import Clock
from core.data_layout import DataLayout
from core.database import Connection, connect, readable_errors
from core.errors import DatabaseError, ModelError
from core.queries import load_query
from core.settings import Settings
from recommender.data.mart_reader import newest_batches
from recommender.publishing.model_runs import find_champion
from streaming.fresh_recommendations import LiveModel, load_live_model, recommend_to_users, save_lists
from streaming.kafka import BrokerUnavailable, KafkaTopic, TopicRecreated
from streaming.messages import Message
from streaming.metrics import StreamMetrics
from streaming.store import PartitionLost, SessionStore, StoredBatch

_LOGGER = logging.getLogger(__name__)
_USERS_PER_STEP = 500
_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_BETWEEN_TRIES = 1.0


@dataclass
class Consumer:
    """Consumes until `stop` is called. Outages of broker and database end by themselves."""

    settings: Settings
    database_url: str
    clock: Clock
    metrics: StreamMetrics = field(default_factory=StreamMetrics)
    stopped: bool = False
    # Called after each batch: for tests.
    after_batch: Callable[[StoredBatch], None] = lambda stored: None

    def stop(self) -> None:
        """End after the batch at work."""
        self.stopped = True

    def run(self) -> None:
        """Consume. Raises what is neither an outage nor a topic that was created again."""
        while not self.stopped:
            try:
                with connect(self.database_url) as connection:
                    self._consume(connection)
            except TopicRecreated as error:
                _LOGGER.warning("%s; consuming it from its first message", error)
            except (BrokerUnavailable, DatabaseError) as error:
                _LOGGER.warning("%s; trying again", error)
                self._pause(_SECONDS_BETWEEN_TRIES)

    def _consume(self, connection: Connection) -> None:
        topic = KafkaTopic(self.settings)
        try:
            store = SessionStore(connection, topic.name, topic.topic_id)
            topic.subscribe(store.next_offset)
            recommendations = FreshRecommendations(self.settings, connection, self.clock, self.metrics)
            recommendations.refresh()
            while not self.stopped:
                self._receive_and_store(topic, store, recommendations)
        finally:
            topic.close()

    def _receive_and_store(self, topic: KafkaTopic, store: SessionStore, recommendations: FreshRecommendations) -> None:
        messages = topic.receive(self.settings.stream_batch_messages, self.settings.stream_wait_seconds)
        began = time.monotonic()
        if messages:
            try:
                stored = store.store(messages, self.clock())
            except PartitionLost as error:
                _LOGGER.warning("%s; consuming from there", error)
                topic.rewind()
                return
            self._observe(stored, messages, topic)
            recommendations.recommend_to(stored.changed_users)
            self._observe_lists(messages)
            self.metrics.batch_seconds.observe(time.monotonic() - began)
            self.after_batch(stored)
        if recommendations.refresh():
            self.metrics.lag_messages.set(topic.lag())

    def _observe(self, stored: StoredBatch, messages: Sequence[Message], topic: KafkaTopic) -> None:
        metrics, now = self.metrics, time.time()
        metrics.messages.inc(stored.messages)
        metrics.rejected.inc(stored.rejected)
        metrics.parked.inc(stored.parked)
        for message in messages:
            if message.sent_at is not None:
                metrics.play_to_commit.observe(max(0.0, now - message.sent_at))
        newest = max((message.sent_at for message in messages if message.sent_at is not None), default=None)
        metrics.lag_seconds.set(0 if newest is None else max(0.0, now - newest))

    def _observe_lists(self, messages: Sequence[Message]) -> None:
        now = time.time()
        for message in messages:
            if message.sent_at is not None:
                self.metrics.play_to_list.observe(max(0.0, now - message.sent_at))

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self.stopped and time.monotonic() < until:
            time.sleep(0.05)


@dataclass
class FreshRecommendations:
    """Keeps fresh recommendations in line with the live publication and the stored sessions."""

    settings: Settings
    connection: Connection
    clock: Clock
    metrics: StreamMetrics
    live: LiveModel | None = None
    _looked_at: float = float("-inf")

    def recommend_to(self, user_ids: Sequence[int]) -> None:
        """Recommend to users whose sessions changed. Raises DatabaseError."""
        if not self.settings.stream_fresh or self.live is None or not user_ids:
            return
        for begin in range(0, len(user_ids), _USERS_PER_STEP):
            self._recommend(user_ids[begin : begin + _USERS_PER_STEP])

    def refresh(self) -> bool:
        """Once a second: follow the live publication, release parked sessions, and recommend to users who were missed.

        Returns whether it did. Raises DatabaseError.
        """
        if time.monotonic() - self._looked_at < _SECONDS_BETWEEN_LOOKS:
            return False
        self._looked_at = time.monotonic()
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
        if self.live is None or self.live.batches != batches:
            self._release_parked()
        try:
            self.live = load_live_model(
                self.connection, DataLayout(self.settings.data_dir).models, self.clock(), self.settings
            )
        except ModelError as error:
            _LOGGER.warning("no fresh recommendations: %s", error)
            self.live = None
            return
        self.metrics.model_loads.inc()
        with readable_errors():
            self.connection.execute(
                load_query("stream/fresh_recommendations.delete_other_publications"),
                {"publication_id": champion.publication_id},
            )

    def _release_parked(self) -> None:
        before = self.clock() - timedelta(days=self.settings.stream_parked_days)
        with readable_errors(), self.connection.transaction():
            self.connection.execute(load_query("stream/sessions.release_parked"))
            overdue = self.connection.execute(
                load_query("stream/sessions.delete_overdue_parked"), {"before": before}
            ).fetchall()
        if overdue:
            _LOGGER.warning("%d parked sessions name a user or track that was never published", len(overdue))

    def _recommend_to_missed(self) -> None:
        """Recommend to users whose changes were stored before a consumer ended, or for another publication."""
        if self.live is None:
            return
        values = {"publication_id": self.live.champion.publication_id, "most": _USERS_PER_STEP}
        with readable_errors():
            rows = self.connection.execute(
                load_query("stream/fresh_recommendations.find_stale_users"), values
            ).fetchall()
        if rows:
            self._recommend([user_id for user_id, _ in rows])
            if len(rows) == _USERS_PER_STEP:
                self._looked_at = float("-inf")

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
        lists = recommend_to_users(
            self.connection, self.live, list(changes), now=now, most=self.settings.recommendations_per_user
        )
        failed = save_lists(self.connection, self.live, lists, changes, now)
        self.metrics.lists.inc(len(lists) - failed)
        self.metrics.failed_lists.inc(failed)
