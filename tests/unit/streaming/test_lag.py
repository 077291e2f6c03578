"""The lag of a consumer in seconds."""

from __future__ import annotations

import pytest

from streaming.lag import ConsumerLag
from streaming.messages import Message


class Seconds:
    """A clock that a test moves."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
def lag(clock: Seconds) -> ConsumerLag:
    return ConsumerLag(wait_seconds=0.5, clock=clock)


def messages(*sent_at: float | None, partition: int = 0) -> list[Message]:
    return [Message(b"", moment, partition, offset) for offset, moment in enumerate(sent_at)]


def test_lag_is_zero_while_nothing_waits(lag: ConsumerLag, clock: Seconds) -> None:
    lag.record_stored(messages(400.0))
    assert lag.seconds() == 600
    lag.record_nothing_waits()
    assert lag.seconds() == 0
    clock.now += 2
    assert lag.seconds() == 0


def test_lag_rises_when_an_idle_consumer_stops_to_consume(lag: ConsumerLag, clock: Seconds) -> None:
    lag.record_nothing_waits()
    clock.now += 30
    assert lag.seconds() == 30
    clock.now += 30
    assert lag.seconds() == 60


def test_lag_rises_from_the_start_until_the_first_message(lag: ConsumerLag, clock: Seconds) -> None:
    clock.now += 5
    assert lag.seconds() == 5


def test_lag_is_unknown_for_a_minute_after_the_start(lag: ConsumerLag, clock: Seconds) -> None:
    clock.now += 59
    assert not lag.is_known
    clock.now += 2
    assert lag.is_known


def test_lag_is_known_after_the_first_answer_of_the_broker(lag: ConsumerLag, clock: Seconds) -> None:
    lag.record_nothing_waits()
    assert lag.is_known
    second_lag = ConsumerLag(clock=clock)
    second_lag.record_stored(messages(400.0))
    assert second_lag.is_known


def test_lag_is_the_age_of_the_newest_stored_message(lag: ConsumerLag, clock: Seconds) -> None:
    lag.record_nothing_waits()
    lag.record_stored(messages(100.0, 700.0, 990.0))
    assert lag.seconds() == 10
    clock.now += 3
    assert lag.seconds() == 13


def test_lag_is_that_of_the_partition_furthest_behind(lag: ConsumerLag) -> None:
    lag.record_stored([*messages(990.0, partition=0), *messages(200.0, 300.0, partition=1)])
    assert lag.seconds() == 700


@pytest.mark.parametrize("sent_at", [None, 5_000.0])
def test_message_without_a_usable_time_counts_as_sent_now(lag: ConsumerLag, sent_at: float | None) -> None:
    lag.record_stored(messages(sent_at))
    assert lag.seconds() == 0
