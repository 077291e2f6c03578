"""The offsets of a Kafka topic, in the database. Each moves in the transaction that stores the messages before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.database import Connection, readable_errors
from core.queries import load_query
from streaming.messages import Message
from streaming.transport import PartitionLost


class Offsets:
    """The next offsets of one topic, by partition. If two consumers have a partition, only one stores its messages."""

    def __init__(self, connection: Connection, topic: str, topic_id: str) -> None:
        self.source = f"{topic} ({topic_id})"
        self._connection = connection
        self._topic = topic
        self._topic_id = topic_id
        # The offsets in the database when this consumer last read or moved them.
        self._next_offsets: dict[int, int | None] = {}
        self.skipped: dict[int, int] = {}

    @readable_errors()
    def next_offset(self, partition: int) -> int | None:
        """The offset to consume next; None if no message of the partition was stored. Raises DatabaseError."""
        values = {"topic_id": self._topic_id, "partition": partition}
        row = self._connection.execute(load_query("stream/offsets.find_next_offset"), values).fetchone()
        self._next_offsets[partition] = None if row is None else row[0]
        return self._next_offsets[partition]

    @readable_errors()
    def have_moved(self) -> bool:
        """Whether the database has other offsets than this consumer: after a replay. Raises DatabaseError."""
        rows = self._connection.execute(load_query("stream/offsets.find_offsets"), {"topic_id": self._topic_id})
        stored = {partition: next_offset for partition, next_offset, _ in rows}
        return any(stored.get(partition) != expected for partition, expected in self._next_offsets.items())

    def count_unconsumed(self, ends: Mapping[int, int]) -> int:
        """The number of messages from the next offsets to the ends of partitions."""
        return sum(max(0, end - (self._next_offsets.get(partition) or 0)) for partition, end in ends.items())

    def add(self, messages: Sequence[Message]) -> list[Message]:
        """Move the offsets behind the messages. All of them are new.

        `skipped` then has the number of offsets before and between them that no message had, by partition. The broker
        deleted these messages, or they are one marker for each transaction of a sender, or duplicates in a compacted
        topic. If the transaction fails, call `next_offset` before the next `add`. Raises PartitionLost, psycopg.Error.
        """
        positions = [_position(message) for message in messages]
        next_offsets = {partition: offset + 1 for partition, offset in positions}
        counts = Counter(partition for partition, _ in positions)
        for partition, next_offset in sorted(next_offsets.items()):
            expected = self._next_offsets[partition]
            query = "stream/offsets.add_offset" if expected is None else "stream/offsets.move_offset"
            values = {
                "topic_id": self._topic_id,
                "partition": partition,
                "next_offset": next_offset,
                "expected_offset": expected,
                "messages": counts[partition],
            }
            if self._connection.execute(load_query(query), values).fetchone() is None:
                raise PartitionLost(f"another consumer stored messages of partition {partition} of {self._topic}")
        first_offsets = dict(reversed(positions))
        self.skipped = {}
        for partition, next_offset in sorted(next_offsets.items()):
            expected = self._next_offsets[partition]
            begin = first_offsets[partition] if expected is None else expected
            if skipped := next_offset - begin - counts[partition]:
                self.skipped[partition] = skipped
        self._next_offsets |= next_offsets
        return list(messages)


def _position(message: Message) -> tuple[int, int]:
    if message.partition is None or message.offset is None:
        raise ValueError("a message from Kafka has a partition and an offset")
    return message.partition, message.offset


@dataclass(frozen=True)
class ReplayedPartition:
    """A partition that is consumed again, from offset `next_offset` to before `consumed_offset`."""

    partition: int
    next_offset: int
    consumed_offset: int

    @property
    def messages(self) -> int:
        """How many messages are consumed again."""
        return self.consumed_offset - self.next_offset


def move_offsets_back(
    connection: Connection, topic_id: str, first_offsets: Mapping[int, int]
) -> list[ReplayedPartition]:
    """Move the offsets of partitions back, in one transaction. Smaller offsets stay. Raises DatabaseError."""
    partitions = []
    with readable_errors(), connection.transaction():
        for partition, next_offset in sorted(first_offsets.items()):
            values = {"topic_id": topic_id, "partition": partition, "next_offset": next_offset}
            row = connection.execute(load_query("stream/offsets.move_offset_back"), values).fetchone()
            if row is not None:
                partitions.append(ReplayedPartition(partition, next_offset, row[0]))
    return partitions
