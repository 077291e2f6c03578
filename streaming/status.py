"""The state of consumers and topic in the database, for `moovitamix stream status` and notifications."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.clock import CLOCK_SKEW
from core.database import Connection, readable_errors
from core.queries import load_query
from streaming.minutes import SAVE_SECONDS

# A consumer that did not report for this long is busy with a batch, or has ended. Its lag is unknown.
CURRENT = timedelta(seconds=3 * SAVE_SECONDS)


@dataclass(frozen=True)
class ConsumerReport:
    """The newest report of one consumer. `topic` has name and id of the topic. `lag_messages` is None if unknown."""

    consumer_id: str
    topic: str
    written_at: datetime
    lag_messages: int | None
    lag_seconds: float


@dataclass(frozen=True)
class StoredOffset:
    """The next offset to consume of one partition, and how many of its messages are stored."""

    partition: int
    next_offset: int
    messages: int


@dataclass(frozen=True)
class StoredSessions:
    """The numbers of streamed sessions that wait, and when a message last changed a session."""

    unconfirmed: int
    parked: int
    last_received_at: datetime | None


@dataclass(frozen=True)
class FreshListCount:
    """The live publication, since when, and how many users have fresh recommendations of it."""

    publication_id: int
    live_from: datetime
    lists: int


@readable_errors()
def current_consumers(connection: Connection, now: datetime) -> list[ConsumerReport]:
    """The consumers that reported within half a minute. Raises DatabaseError."""
    values = {"since": now - CURRENT, "latest": now + CLOCK_SKEW}
    rows = connection.execute(load_query("stream/status.find_consumers"), values).fetchall()
    return [ConsumerReport(str(consumer_id), *figures) for consumer_id, *figures in rows]


@readable_errors()
def newest_report_time(connection: Connection, now: datetime) -> datetime | None:
    """When a consumer reported last; None if none did. Raises DatabaseError."""
    row = connection.execute(load_query("stream/status.find_newest_report"), {"latest": now + CLOCK_SKEW}).fetchone()
    return row[0] if row else None


@readable_errors()
def count_messages(connection: Connection, since: datetime, now: datetime) -> tuple[int, int]:
    """The numbers of consumed and of rejected messages since a moment. Raises DatabaseError."""
    values = {"since": since, "latest": now + CLOCK_SKEW}
    row = connection.execute(load_query("stream/status.count_messages"), values).fetchone()
    return (row[0], row[1]) if row else (0, 0)


@readable_errors()
def stored_messages(connection: Connection, subscription: str) -> int:
    """How many messages of a Pub/Sub subscription are stored. Raises DatabaseError."""
    query = load_query("stream/message_ids.find_message_count")
    row = connection.execute(query, {"subscription": subscription}).fetchone()
    return row[0] if row else 0


@readable_errors()
def stored_offsets(connection: Connection, topic_id: str) -> list[StoredOffset]:
    """The offsets of the partitions from which messages were stored. Raises DatabaseError."""
    rows = connection.execute(load_query("stream/offsets.find_offsets"), {"topic_id": topic_id})
    return [StoredOffset(*row) for row in rows]


@readable_errors()
def stored_sessions(connection: Connection) -> StoredSessions:
    """The numbers of streamed sessions. Raises DatabaseError."""
    row = connection.execute(load_query("stream/status.count_sessions")).fetchone()
    return StoredSessions(*row) if row else StoredSessions(0, 0, None)


@readable_errors()
def fresh_list_count(connection: Connection) -> FreshListCount | None:
    """The live publication and its fresh recommendations; None before the first publication. Raises DatabaseError."""
    row = connection.execute(load_query("stream/status.find_live_publication")).fetchone()
    return FreshListCount(*row) if row else None


def total_lag(consumers: Sequence[ConsumerReport]) -> tuple[int | None, float]:
    """The lag of all consumers: the sum of their messages, None if one is unknown, and the longest in seconds."""
    messages = [consumer.lag_messages for consumer in consumers]
    known_messages = [count for count in messages if count is not None]
    return (sum(known_messages) if len(known_messages) == len(messages) else None), max(
        (consumer.lag_seconds for consumer in consumers), default=0.0
    )
