"""Store a batch of messages: its sessions, its rejected messages and the offsets, in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from core.clock import CLOCK_SKEW
from core.database import Connection, readable_errors
from core.endpoints import LISTEN_HISTORY
from core.errors import MoovitamixError
from core.frames import write_frame
from core.queries import load_query
from erasure.suppression_list import SUPPRESSION_LOCK, read_database
from streaming.messages import Message, RejectedMessage, decode_messages

_NEVER_PUBLISHED = "the user or a track was not published within STREAM_PARKED_DAYS"


class PartitionLost(MoovitamixError):
    """Another consumer stored messages of a partition, so nothing of this batch was stored."""


@dataclass(frozen=True)
class StoredBatch:
    """What a batch of messages became. `changed_users` have sessions that their recommendations do not include yet."""

    messages: int
    stored: int
    unchanged: int
    parked: int
    rejected: int
    erased: int
    changed_users: tuple[int, ...]


@dataclass
class SessionStore:
    """Stores batches of one topic. `positions` are the next offsets by partition, as the database has them."""

    connection: Connection
    topic: str
    topic_id: str
    positions: dict[int, int | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with readable_errors():
            self.connection.execute(load_query("stream/sessions.create_incoming"))

    @property
    def _topic_and_id(self) -> str:
        return f"{self.topic} ({self.topic_id})"

    @readable_errors()
    def next_offset(self, partition: int) -> int | None:
        """The offset to consume next; None before the first message of the partition was stored."""
        values = {"topic_id": self.topic_id, "partition": partition}
        row = self.connection.execute(load_query("stream/offsets.find_next_offset"), values).fetchone()
        self.positions[partition] = None if row is None else row[0]
        return self.positions[partition]

    def store(self, messages: Sequence[Message], now: datetime) -> StoredBatch:
        """Store the batch. Raises PartitionLost if another consumer stored messages of a partition, DatabaseError."""
        next_offsets = {message.partition: message.offset + 1 for message in messages}
        with readable_errors(), self.connection.transaction():
            self.connection.execute(load_query("stream/sessions.lock_suppression_list"), {"lock": SUPPRESSION_LOCK})
            decoded = decode_messages(messages, latest=now + CLOCK_SKEW, row_filter=read_database(self.connection))
            rows: list[tuple[int, bool, bool]] = []
            if not decoded.sessions.is_empty():
                write_frame(self.connection, ("pg_temp", "incoming_sessions"), decoded.sessions)
                values = {"now": now, "topic": self._topic_and_id}
                rows = self.connection.execute(load_query("stream/store_incoming_sessions"), values).fetchall()
            self._reject(decoded.rejected, now)
            self._move_offsets(next_offsets, Counter(message.partition for message in messages))
        self.positions |= next_offsets
        whole = sum(row.play_position is None for row in decoded.rejected)
        return StoredBatch(
            messages=len(messages),
            stored=len(rows),
            unchanged=len(messages) - whole - decoded.erased - len(rows),
            parked=sum(is_parked for _, is_parked, _ in rows),
            rejected=whole,
            erased=decoded.erased,
            changed_users=tuple(
                {user_id: None for user_id, is_parked, confirmed in rows if not (is_parked or confirmed)}
            ),
        )

    def release_parked(self) -> None:
        """Release the parked sessions whose user and tracks are published now. Raises DatabaseError."""
        with readable_errors():
            self.connection.execute(load_query("stream/sessions.release_parked"))

    def confirm_published(self) -> None:
        """Confirm the sessions that the warehouse has in this version or a newer one. Raises DatabaseError.

        The transaction that publishes a batch cannot see sessions that are stored until it commits.
        """
        with readable_errors():
            self.connection.execute(load_query("stream/sessions.confirm_published"))

    def reject_overdue_parked(self, received_before: datetime, now: datetime) -> int:
        """Reject the parked sessions that were received before a moment. Returns how many. Raises DatabaseError."""
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
                _rejected_row(None, raw_json, _NEVER_PUBLISHED, topic, partition, offset, now)
                for user_id, raw_json, topic, partition, offset in overdue
                if user_id not in erased
            ]
            with self.connection.cursor() as cursor:
                cursor.executemany(load_query("stream/offsets.reject_message"), rows)
        return len(rows)

    def _reject(self, rejected: Sequence[RejectedMessage], now: datetime) -> None:
        if not rejected:
            return
        with self.connection.cursor() as cursor:
            cursor.executemany(
                load_query("stream/offsets.reject_message"),
                [
                    _rejected_row(
                        row.play_position, row.raw_json, row.reason,
                        self._topic_and_id, row.message.partition, row.message.offset, now,
                    )
                    for row in rejected
                ],
            )  # fmt: skip

    def _move_offsets(self, next_offsets: Mapping[int, int], messages: Mapping[int, int]) -> None:
        for partition, next_offset in sorted(next_offsets.items()):
            expected = self.positions[partition]
            query = "stream/offsets.add_offset" if expected is None else "stream/offsets.move_offset"
            values = {
                "topic_id": self.topic_id,
                "partition": partition,
                "next_offset": next_offset,
                "expected_offset": expected,
                "messages": messages[partition],
            }
            row = self.connection.execute(load_query(query), values).fetchone()
            if row is None:
                raise PartitionLost(f"another consumer stored messages of partition {partition} of {self.topic}")


def _rejected_row(
    play_position: int | None, raw_json: str, reason: str, topic: str, partition: int, offset: int, now: datetime
) -> dict[str, Any]:
    """The values of `stream/offsets.reject_message`."""
    return {
        "endpoint": LISTEN_HISTORY,
        "play_position": play_position,
        "raw_json": raw_json,
        "reason": reason,
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "now": now,
    }
