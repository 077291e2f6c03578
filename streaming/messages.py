"""Messages of the topic, and the sessions in them. A message holds one row of /listen_history as JSON text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from core.endpoints import LISTEN_HISTORY
from pipeline.decoding import RejectedRow
from pipeline.row_filter import RowFilter
from pipeline.transformation import transform_rows

# Kafka's default limit of a message is 1 MB; a larger one is a mistake of the sender.
MAX_BYTES = 1_000_000
# A message with many invalid plays has one row for each of the first, and its text only once.
MAX_REJECTED_PLAYS = 20


@dataclass(frozen=True, slots=True)
class Message:
    """One message. Kafka identifies it by partition and offset, Pub/Sub by `message_id`.

    `sent_at` is when it was sent or published, in seconds since 1970, None if that is unknown.
    """

    value: bytes | None
    sent_at: float | None = None
    partition: int | None = None
    offset: int | None = None
    message_id: str | None = None


@dataclass(frozen=True)
class RejectedMessage:
    """A message, or one play of its session, that is not stored. `play_position` counts from 1."""

    message: Message
    play_position: int | None
    raw_json: str
    reason: str


@dataclass(frozen=True)
class DecodedMessages:
    """The sessions of a batch of messages: user_id, created_at, updated_at (both in UTC without a zone), items as text
    of the form `{1,2,3}`, partition, offset and message_id, in the order of the messages.

    `sent_at` is when the first message of each of their users was sent, in seconds since 1970; None if unknown.
    """

    sessions: pl.DataFrame
    rejected: tuple[RejectedMessage, ...]
    erased: int
    sent_at: dict[int, float | None]


def decode_messages(messages: Sequence[Message], *, latest: datetime, row_filter: RowFilter | None) -> DecodedMessages:
    """Decode messages. Sessions after `latest` are rejected; sessions that `row_filter` matches are only counted."""
    readable = [message for message in messages if message.value and len(message.value) <= MAX_BYTES]
    unreadable = [_unreadable(message) for message in messages if not message.value or len(message.value) > MAX_BYTES]
    rows, rejected, erased = transform_rows(
        LISTEN_HISTORY, [message.value or b"" for message in readable], latest=latest, row_filter=row_filter
    )
    positions = rows["row_position"] - 1
    sessions = rows.select("user_id", "created_at", "updated_at", "items").with_columns(
        pl.Series("partition", [message.partition for message in readable], pl.Int64).gather(positions),
        pl.Series("offset", [message.offset for message in readable], pl.Int64).gather(positions),
        pl.Series("message_id", [message.message_id for message in readable], pl.String).gather(positions),
    )
    sent_at = rows.select(
        "user_id", sent_at=pl.Series([message.sent_at for message in readable], dtype=pl.Float64).gather(positions)
    )
    return DecodedMessages(
        sessions,
        (*unreadable, *_rejected(rejected, readable)),
        erased,
        dict(sent_at.group_by("user_id").agg(pl.col("sent_at").min()).iter_rows()),
    )


def _unreadable(message: Message) -> RejectedMessage:
    if not message.value:
        return RejectedMessage(message, None, "", "the message has no value")
    reason = f"the message has {len(message.value):,} bytes, more than {MAX_BYTES:,}"
    return RejectedMessage(message, None, "", reason)


def _rejected(rows: Sequence[RejectedRow], readable: Sequence[Message]) -> Iterator[RejectedMessage]:
    rows_of_messages: dict[int, list[RejectedRow]] = {}
    for row in rows:
        rows_of_messages.setdefault(row.row_position, []).append(row)
    for row_position, rows_of_message in rows_of_messages.items():
        message = readable[row_position - 1]
        for number, row in enumerate(rows_of_message[:MAX_REJECTED_PLAYS]):
            # Postgres stores no NUL characters in a text.
            raw_json = "" if number else row.raw_json.replace("\x00", "\\u0000")
            yield RejectedMessage(message, row.play_position, raw_json, row.reason)
        if excess := rows_of_message[MAX_REJECTED_PLAYS:]:
            yield RejectedMessage(
                message, excess[0].play_position, "", f"this play and {len(excess) - 1:,} after it are invalid"
            )
