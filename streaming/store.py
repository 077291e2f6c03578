"""Store a batch of messages: its sessions, its rejected messages, and that they are consumed, in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.clock import CLOCK_SKEW
from core.database import Connection, readable_errors
from core.endpoints import LISTEN_HISTORY
from core.frames import write_frame
from core.queries import load_query
from erasure.suppression_list import SUPPRESSION_LOCK, read_database
from streaming.messages import Message, RejectedMessage, decode_messages
from streaming.transport import ConsumedMessages

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredBatch:
    """The result of storing a batch of messages.

    `changed_users` have sessions that their recommendations do not include yet,
    with the time when the first of their messages was sent, in seconds since 1970.

    `plays` counts the plays that were not stored before.

    `redelivered` messages were stored before. `skipped` counts offsets without a message. All other numbers are about
    `new_messages`.
    """

    new_messages: tuple[Message, ...]
    redelivered: int
    stored: int
    plays: int
    unchanged: int
    parked: int
    rejected: int
    erased: int
    changed_users: dict[int, float | None]
    skipped: int

    @property
    def messages(self) -> int:
        """How many messages are new."""
        return len(self.new_messages)


@dataclass
class SessionStore:
    """Stores batches of messages of one topic."""

    connection: Connection
    consumed: ConsumedMessages

    def __post_init__(self) -> None:
        with readable_errors():
            self.connection.execute(load_query("stream/sessions.create_incoming"))

    def store(self, messages: Sequence[Message], now: datetime) -> StoredBatch:
        """Store the messages that are new. Raises PartitionLost if another consumer was faster, DatabaseError."""
        with readable_errors(), self.connection.transaction():
            self.connection.execute(load_query("stream/sessions.lock_suppression_list"), {"lock": SUPPRESSION_LOCK})
            new_messages = self.consumed.add(messages)
            decoded = decode_messages(new_messages, latest=now + CLOCK_SKEW, row_filter=read_database(self.connection))
            rows: list[tuple[int, bool, bool, int]] = []
            if not decoded.sessions.is_empty():
                write_frame(self.connection, ("pg_temp", "incoming_sessions"), decoded.sessions)
                values = {"now": now, "topic": self.consumed.source}
                rows = self.connection.execute(load_query("stream/store_incoming_sessions"), values).fetchall()
            self._reject(decoded.rejected, now)
        for partition, skipped in self.consumed.skipped.items():
            _LOGGER.warning(
                "%d offsets of partition %d of %s had no message: the broker deleted them before they were consumed, "
                "or the sender uses transactions, or the topic is compacted",
                *(skipped, partition, self.consumed.source),
            )
        whole = sum(row.play_position is None for row in decoded.rejected)
        return StoredBatch(
            new_messages=tuple(new_messages),
            redelivered=len(messages) - len(new_messages),
            stored=len(rows),
            plays=sum(new_plays for *_, new_plays in rows),
            unchanged=len(new_messages) - whole - decoded.erased - len(rows),
            parked=sum(is_parked for _, is_parked, *_ in rows),
            rejected=whole,
            erased=decoded.erased,
            changed_users={
                user_id: decoded.sent_at[user_id] for user_id, _, is_confirmed, _ in rows if not is_confirmed
            },
            skipped=sum(self.consumed.skipped.values()),
        )

    def _reject(self, rejected: Sequence[RejectedMessage], now: datetime) -> None:
        if not rejected:
            return
        with self.connection.cursor() as cursor:
            cursor.executemany(
                load_query("stream/offsets.reject_message"),
                [
                    rejected_values(row.message, row.play_position, row.raw_json, row.reason)
                    | {"topic": self.consumed.source, "now": now}
                    for row in rejected
                ],
            )


def rejected_values(message: Message, play_position: int | None, raw_json: str, reason: str) -> dict[str, Any]:
    """The values of `stream/offsets.reject_message`, without topic and time."""
    return {
        "endpoint": LISTEN_HISTORY,
        "play_position": play_position,
        "raw_json": raw_json,
        "reason": reason,
        "partition": message.partition,
        "offset": message.offset,
        "message_id": message.message_id,
    }
