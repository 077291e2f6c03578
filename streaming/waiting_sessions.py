"""Sessions that wait for the warehouse: parked ones for users and tracks, others for the snapshot that has them."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.clock import Clock
from core.database import Connection, readable_errors
from core.queries import load_query
from core.settings import Settings
from erasure.suppression_list import SUPPRESSION_LOCK, read_database
from recommender.data.mart_reader import newest_batches
from streaming.messages import Message
from streaming.metrics import StreamMetrics
from streaming.store import rejected_values

_LOGGER = logging.getLogger(__name__)
_REJECTION_SECONDS = 60.0
_NEVER_PUBLISHED = "the user or a track was not published within STREAM_PARKED_DAYS"


@dataclass
class WaitingSessions:
    """Releases parked sessions when their user and tracks are published, and rejects those that waited too long.

    Confirms sessions that were stored while their snapshot was published.
    """

    settings: Settings
    connection: Connection
    clock: Clock
    metrics: StreamMetrics
    _batches: tuple[str, ...] = ()
    _rejected_at: float = float("-inf")

    def refresh(self) -> None:
        """Release and confirm after each new batch, and reject once a minute. Raises DatabaseError."""
        batches = tuple(newest_batches(self.connection))
        if batches != self._batches:
            self._release()
            self._confirm_published()
            self._batches = batches
        elif time.monotonic() - self._rejected_at < _REJECTION_SECONDS:
            return
        now = self.clock()
        rejected = self._reject_overdue(now - timedelta(days=self.settings.stream_parked_days), now)
        self._rejected_at = time.monotonic()
        self.metrics.rejected.inc(rejected)
        if rejected:
            _LOGGER.warning("%d parked sessions are rejected: a user or track was not published in time", rejected)

    @readable_errors()
    def _release(self) -> None:
        self.connection.execute(load_query("stream/sessions.release_parked"))

    @readable_errors()
    def _confirm_published(self) -> None:
        """The transaction that publishes a batch cannot see sessions that are stored until it commits."""
        self.connection.execute(load_query("stream/sessions.confirm_published"))

    def _reject_overdue(self, received_before: datetime, now: datetime) -> int:
        """Reject the parked sessions that were received before a moment. Returns how many."""
        with readable_errors(), self.connection.transaction():
            # An erasure that begins later finds the rows in ops.rejected_rows.
            self.connection.execute(load_query("stream/sessions.lock_suppression_list"), {"lock": SUPPRESSION_LOCK})
            overdue = self.connection.execute(
                load_query("stream/sessions.delete_overdue_parked"), {"before": received_before}
            ).fetchall()
            if not overdue:
                return 0
            erased = read_database(self.connection).matching_ids(user_id for user_id, *_ in overdue)
            rows = [
                rejected_values(Message(None, None, partition, offset, message_id), None, raw_json, _NEVER_PUBLISHED)
                | {"topic": topic, "now": now}
                for user_id, raw_json, topic, partition, offset, message_id in overdue
                if user_id not in erased
            ]
            with self.connection.cursor() as cursor:
                cursor.executemany(load_query("stream/offsets.reject_message"), rows)
        return len(rows)
