"""How long messages have been waiting for this consumer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from streaming.messages import Message

# A consumer may be stuck if it last found the topic empty longer ago than its wait plus these seconds.
_IDLE_SECONDS = 2.0
# A starting consumer gets its partitions within seconds.
_START_SECONDS = 60.0


@dataclass
class ConsumerLag:
    """The lag of a consumer: the seconds since `stored_until`. Times are seconds since 1970.

    All messages of the assigned partitions that were sent before `stored_until` are stored. While no message waits, the
    lag is 0. It rises while messages are processed, and during an outage, when nobody knows whether messages wait.
    After the start, the lag is unknown until the first record, for at most a minute.
    """

    wait_seconds: float = 0.0
    clock: Callable[[], float] = time.time
    stored_until: float = field(init=False)
    is_idle: bool = False
    _has_recorded: bool = False

    def __post_init__(self) -> None:
        self.stored_until = self.clock()

    def seconds(self) -> float:
        """The lag in seconds."""
        lag = max(0.0, self.clock() - self.stored_until)
        return 0.0 if self.is_idle and lag <= self.wait_seconds + _IDLE_SECONDS else lag

    @property
    def is_known(self) -> bool:
        """Whether `seconds` is a measurement. Just after the start it is not."""
        return self._has_recorded or self.seconds() > _START_SECONDS

    def record_nothing_waits(self) -> None:
        """Record that the broker had no message."""
        self._has_recorded = True
        self.stored_until, self.is_idle = self.clock(), True

    def record_stored(self, messages: Sequence[Message]) -> None:
        """Record a stored batch. `stored_until` follows the partition whose newest message is the oldest."""
        self._has_recorded = True
        now = self.clock()
        newest: dict[int | None, float] = {}
        for message in messages:
            sent_at = now if message.sent_at is None else message.sent_at
            newest[message.partition] = max(sent_at, newest.get(message.partition, sent_at))
        self.stored_until, self.is_idle = min(now, *newest.values()), False
