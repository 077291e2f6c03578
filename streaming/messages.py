"""Messages of the topic, and the sessions in them. A message holds one row of /listen_history as JSON text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from core.endpoints import LISTEN_HISTORY
from pipeline.decoding import RejectedRow
from pipeline.row_filter import RowFilter
from pipeline.transformation import transform_rows

# Kafka's default limit of a message is 1 MB; a larger one is a mistake of the sender.
MOST_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `sent_at` is the producer's time in seconds since 1970, None if the producer sent none."""

    partition: int
    offset: int
    value: bytes | None
    sent_at: float | None = None


@dataclass(frozen=True)
class RejectedMessage:
    """A message, or one play of its session, that is not stored. `play_position` counts from 1."""

    message: Message
    play_position: int | None
    raw_json: str
    reason: str


@dataclass(frozen=True)
class DecodedMessages:
    """The sessions of a batch of messages: user_id, created_at, updated_at (both in UTC without a zone), and items as
    text of the form `{1,2,3}`, in the order of the messages."""

    sessions: pl.DataFrame
    rejected: tuple[RejectedMessage, ...]
    erased: int


def decode_messages(messages: Sequence[Message], *, latest: datetime, row_filter: RowFilter | None) -> DecodedMessages:
    """Decode messages. Sessions after `latest` are rejected; sessions that `row_filter` matches are only counted."""
    readable = [message for message in messages if message.value and len(message.value) <= MOST_BYTES]
    unreadable = [_unreadable(message) for message in messages if not message.value or len(message.value) > MOST_BYTES]
    rows, rejected, erased = transform_rows(
        LISTEN_HISTORY, [message.value or b"" for message in readable], latest=latest, row_filter=row_filter
    )
    return DecodedMessages(
        rows.select("user_id", "created_at", "updated_at", "items"),
        (*unreadable, *(_rejected(row, readable[row.row_position - 1]) for row in rejected)),
        erased,
    )


def _unreadable(message: Message) -> RejectedMessage:
    if not message.value:
        return RejectedMessage(message, None, "", "the message has no value")
    reason = f"the message has {len(message.value):,} bytes, more than {MOST_BYTES:,}"
    return RejectedMessage(message, None, "", reason)


def _rejected(row: RejectedRow, message: Message) -> RejectedMessage:
    # Postgres stores no NUL characters in a text.
    return RejectedMessage(message, row.play_position, row.raw_json.replace("\x00", "\\u0000"), row.reason)
