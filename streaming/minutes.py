"""Save the figures of this consumer to `stream.minutes`, for the health page, notifications and `stream status`."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from uuid import UUID, uuid4

from prometheus_client import CollectorRegistry

from core.database import Connection, readable_errors
from core.queries import load_query

# Seconds between two reports of an idle consumer, and of a busy consumer.
SAVE_SECONDS, _ACTIVE_SECONDS = 10.0, 0.5
_COUNTERS = ("messages", "plays", "rejected", "parked", "lists", "failed_lists")
_GAUGES = ("lag_messages", "lag_seconds")
_HISTOGRAMS = {"commit_ages": "play_to_commit_seconds", "list_ages": "play_to_list_seconds"}

# By column of `stream.minutes`: one number for a counter, one per step for a histogram.
Counts = dict[str, list[int]]


@dataclass
class MinuteRecorder:
    """Saves what the metrics counted since the minute began. A row that is saved again is also a sign of life.

    A row is replaced as a whole, so a repeated attempt counts nothing twice.
    """

    registry: CollectorRegistry
    consumer_id: UUID = field(default_factory=uuid4)
    _minute: datetime | None = None
    _at_begin: Counts = field(init=False)
    _saved: Counts = field(init=False)
    _saved_at: float = float("-inf")

    def __post_init__(self) -> None:
        self._at_begin = self._saved = _counts(_samples(self.registry))

    def refresh(self, connection: Connection, topic: str, now: datetime) -> None:
        """Save if something was counted, a minute has begun, or the last save is long ago. Raises DatabaseError."""
        age = time.monotonic() - self._saved_at
        if _minute_of(now) == self._minute and (age < _ACTIVE_SECONDS or (age < SAVE_SECONDS and not self._has_news())):
            return
        self.save(connection, topic, now)

    def save(self, connection: Connection, topic: str, now: datetime) -> None:
        """Save the figures of this minute, and if it has just begun, of the previous minute. Raises DatabaseError."""
        minute = _minute_of(now)
        if minute != self._minute:
            # Counts since the last save belong to the minute that ended; after an outage, to the current minute.
            if self._minute == minute - timedelta(minutes=1):
                self._write(connection, self._minute, topic, now)
            self._minute, self._at_begin = minute, self._saved
        self._write(connection, minute, topic, now)

    def _has_news(self) -> bool:
        return _counts(_samples(self.registry)) != self._saved

    def _write(self, connection: Connection, minute: datetime, topic: str, now: datetime) -> None:
        samples = _samples(self.registry)
        counts = _counts(samples)
        figures = {
            column: [count - earlier for count, earlier in zip(values, self._at_begin[column], strict=True)]
            for column, values in counts.items()
        }
        values = {
            "minute": minute,
            "consumer_id": self.consumer_id,
            "topic": topic,
            "now": now,
            **{column: figures[column][0] for column in _COUNTERS},
            **{column: figures[column] for column in _HISTOGRAMS},
            **{column: _none_if_unknown(samples[column][0]) for column in _GAUGES},
        }
        with readable_errors():
            connection.execute(load_query("stream/minutes.save_minute"), values)
        self._saved, self._saved_at = counts, time.monotonic()


def _none_if_unknown(value: float) -> float | None:
    return None if math.isnan(value) else value


def _minute_of(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def _samples(registry: CollectorRegistry) -> dict[str, list[float]]:
    """The values of each sample: one, or one per bound of a histogram."""
    samples: dict[str, list[float]] = {}
    for metric in registry.collect():
        for sample in metric.samples:
            samples.setdefault(sample.name.removeprefix("moovitamix_stream_"), []).append(sample.value)
    return samples


def _counts(samples: dict[str, list[float]]) -> Counts:
    counts = {column: [int(samples[f"{column}_total"][0])] for column in _COUNTERS}
    for column, histogram in _HISTOGRAMS.items():
        # A sample counts all up to its bound.
        counts[column] = [int(upper - lower) for lower, upper in pairwise([0.0, *samples[f"{histogram}_bucket"]])]
    return counts
