"""Sessions that wait for the warehouse: parked sessions for users and tracks, the others for their snapshot."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.clock import Clock
from core.database import Connection, readable_errors
from core.endpoints import LISTEN_HISTORY
from core.queries import load_query
from core.settings import Settings
from erasure.suppression_list import SUPPRESSION_LOCK, read_database
from recommender.data.mart_reader import newest_batches
from streaming.messages import Message
from streaming.metrics import StreamMetrics
from streaming.store import rejected_values

_LOGGER = logging.getLogger(__name__)
_REJECTION_SECONDS = 60.0
# Per call, so that the consumer stores messages between calls.
_MAX_SESSIONS = 10_000
_NEVER_PUBLISHED = "the user or a track was not published within STREAM_PARKED_DAYS"


@dataclass
class WaitingSessions:
    """Releases parked sessions when their user and tracks are published, and rejects those that waited too long.

    Confirms sessions that were stored while their snapshot was published. Waits for no other transaction.
    """

    settings: Settings
    connection: Connection
    clock: Clock
    metrics: StreamMetrics
    _batches: frozenset[str] = frozenset()
    _may_release: bool = False
    _may_confirm: bool = False
    # The newest batch of sessions.
    _newest_batch: str = ""
    _rejected_at: float = float("-inf")

    def refresh(self) -> None:
        """Release after each batch, confirm after each batch of sessions, reject once per minute.

        Raises DatabaseError.
        """
        batches = frozenset(newest_batches(self.connection))
        if batches != self._batches:
            self._may_release = True
            for batch in batches - self._batches:
                if batch.startswith(LISTEN_HISTORY):
                    self._newest_batch, self._may_confirm = batch, True
            self._batches = batches
            self._rejected_at = float("-inf")
        if self._may_release:
            self._may_release = self._release() == _MAX_SESSIONS
        if self._may_confirm:
            self._may_confirm = self._confirm_published() == _MAX_SESSIONS
        if self._may_release or self._may_confirm or time.monotonic() - self._rejected_at < _REJECTION_SECONDS:
            return
        now = self.clock()
        deleted, rejected = self._reject_overdue(now - timedelta(days=self.settings.stream_parked_days), now)
        if deleted < _MAX_SESSIONS:
            self._rejected_at = time.monotonic()
        self.metrics.rejected.inc(rejected)
        if rejected:
            _LOGGER.warning("%d parked sessions are rejected: a user or track was not published in time", rejected)

    @readable_errors()
    def _release(self) -> int:
        values = {"max_sessions": _MAX_SESSIONS}
        return self.connection.execute(load_query("stream/sessions.release_parked"), values).rowcount

    @readable_errors()
    def _confirm_published(self) -> int:
        values = {"max_sessions": _MAX_SESSIONS, "newest_batch": self._newest_batch, "now": self.clock()}
        row = self.connection.execute(load_query("stream/sessions.confirm_published"), values).fetchone()
        return 0 if row is None else int(row[0])

    def _reject_overdue(self, received_before: datetime, now: datetime) -> tuple[int, int]:
        """Reject parked sessions that were received before a moment.

        Returns the number of deleted sessions, and the number of rejected ones: those of users who are not erased.
        """
        with readable_errors(), self.connection.transaction():
            # An erasure that begins later finds the rows in ops.rejected_rows.
            self.connection.execute(load_query("stream/sessions.lock_suppression_list"), {"lock": SUPPRESSION_LOCK})
            overdue = self.connection.execute(
                load_query("stream/sessions.delete_overdue_parked"),
                {"before": received_before, "max_sessions": _MAX_SESSIONS},
            ).fetchall()
            if not overdue:
                return 0, 0
            erased = read_database(self.connection).matching_ids(user_id for user_id, *_ in overdue)
            rows = [
                rejected_values(Message(None, None, partition, offset, message_id), None, raw_json, _NEVER_PUBLISHED)
                | {"topic": topic, "now": now}
                for user_id, raw_json, topic, partition, offset, message_id in overdue
                if user_id not in erased
            ]
            with self.connection.cursor() as cursor:
                cursor.executemany(load_query("stream/offsets.reject_message"), rows)
        return len(overdue), len(rows)
