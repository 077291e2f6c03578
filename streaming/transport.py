"""The interface of a message system. `streaming.kafka` and `streaming.pubsub` implement it.

A transport delivers batches of messages, and may deliver a message again. The database knows which messages are new:
each is recorded in the transaction that stores it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from core.database import Connection
from core.errors import MoovitamixError
from streaming.messages import Message


class BrokerUnavailable(MoovitamixError):
    """The server does not answer, or does not have the topic. A later attempt may succeed."""


class TopicRecreated(MoovitamixError):
    """The topic was deleted and created again, so its offsets start at 0 again."""


class PartitionLost(MoovitamixError):
    """Another consumer stored messages of a partition, so nothing of this batch was stored."""


class ConsumedMessages(Protocol):
    """The record of consumed messages in the database. `source` names the topic in rejected rows.

    `skipped`: how many messages of each partition were missing in the last `add`.
    """

    source: str
    skipped: dict[int, int]

    def add(self, messages: Sequence[Message]) -> list[Message]:
        """Record messages in the current transaction, and return those that were not recorded before, in their order.

        Raises PartitionLost, psycopg.Error.
        """
        ...


class Transport(Protocol):
    """Receives messages until it is closed. `name` is the topic, in messages to people.

    If `receive` returns nothing while `is_idle` is true, no message waits. `max_messages` is the most that `receive`
    returns at once.
    """

    name: str
    max_messages: int

    @property
    def is_idle(self) -> bool:
        """Whether the server says which messages this consumer gets."""
        ...

    def resume(self, connection: Connection) -> ConsumedMessages:
        """Continue after the messages that the database has. Call it before `receive`, and for each new connection.

        Raises BrokerUnavailable, DatabaseError.
        """
        ...

    def receive(self, max_messages: int, wait_seconds: float) -> list[Message]:
        """Return up to `max_messages`, or none if nothing arrives in time. Raises BrokerUnavailable, TopicRecreated."""
        ...

    def acknowledge(self) -> None:
        """The messages that `receive` returned last are stored."""
        ...

    def rewind(self) -> None:
        """The messages that `receive` returned last are not stored: receive them again. Raises BrokerUnavailable."""
        ...

    def refresh(self) -> int | None:
        """Once a second: follow a replay. Returns the number of unconsumed messages, None if it is unknown.

        Does not wait for the server. Raises BrokerUnavailable, DatabaseError.
        """
        ...

    def close(self) -> None:
        """Give messages and partitions back. Never raises."""
        ...
