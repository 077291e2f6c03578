"""The ids of consumed Pub/Sub messages, in the database. Pub/Sub may deliver a message again after it was stored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from core.database import Connection
from core.queries import load_query
from streaming.messages import Message

# Pub/Sub retains a message for at most 31 days after its publication, and cannot deliver an older message again.
# Source: https://cloud.google.com/pubsub/docs/subscription-properties, "Message retention duration".
_RETENTION = timedelta(days=32)


class MessageIds:
    """The messages of one subscription that were consumed and may be delivered again. Each is recorded once.

    The consumers of a subscription store one after another. If two receive the same message, it is new to only one of
    them.
    """

    def __init__(self, connection: Connection, subscription: str) -> None:
        self.source = subscription
        self.skipped: dict[int, int] = {}  # a message that Pub/Sub deleted leaves no trace
        self._connection = connection

    def add(self, messages: Sequence[Message]) -> list[Message]:
        """Record messages, and count and return those that are new.

        Deletes up to twice as many that cannot be delivered again. Raises psycopg.Error.
        """
        messages_by_id: dict[tuple[str, datetime], Message] = {}
        for message in messages:
            messages_by_id.setdefault(_id_and_time(message), message)
        subscription_id = self._lock_subscription()
        values = {
            "subscription_id": subscription_id,
            "message_ids": [message_id for message_id, _ in messages_by_id],
            "published_at": [published_at for _, published_at in messages_by_id],
        }
        added = set(self._connection.execute(load_query("stream/message_ids.add_messages"), values).fetchall())
        values = {"subscription_id": subscription_id, "messages": len(added)}
        self._connection.execute(load_query("stream/message_ids.count_messages"), values)
        newest = max(published_at for _, published_at in messages_by_id)
        values = {
            "subscription_id": subscription_id,
            "before": newest - _RETENTION,
            "max_rows": 2 * len(messages),
        }
        self._connection.execute(load_query("stream/message_ids.delete_old"), values)
        return [message for key, message in messages_by_id.items() if key in added]

    def _lock_subscription(self) -> int:
        """Lock the subscription until the transaction ends, and return its number."""
        values = {"subscription": self.source}
        while True:
            row = self._connection.execute(load_query("stream/message_ids.lock_subscription"), values).fetchone()
            if row is not None:
                return int(row[0])
            self._connection.execute(load_query("stream/message_ids.add_subscription"), values)


def _id_and_time(message: Message) -> tuple[str, datetime]:
    if message.message_id is None or message.sent_at is None:
        raise ValueError("a message from Pub/Sub has an id and a time of publication")
    return message.message_id, datetime.fromtimestamp(message.sent_at, UTC)
