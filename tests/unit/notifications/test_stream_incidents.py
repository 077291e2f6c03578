"""Incidents of the stream, with a simulated broker and simulated consumers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.settings import Settings
from notifications.health_checks import HealthUnknown, ProcessState
from notifications.notification import incident_body
from notifications.stream_incidents import StreamActivity, StreamChecks, stream_checks
from streaming.status import ConsumerReport
from streaming.transport import BrokerUnavailable
from tests.unit.notifications.test_watchdog import START, SimulatedMachine

TOPIC = "moovitamix.listens"
RUNNING = [ProcessState("kafka", 11, stopped=False), ProcessState("stream", 12, stopped=False)]
BROKER = "the broker of the stream does not answer"
CONSUMER = "no consumer of the stream is running"
LAG = "the consumer of the stream lags behind"
REJECTED = "many messages of the stream are rejected"
CREATED_AGAIN = "the topic of the stream was created again"


@dataclass
class SimulatedStream:
    """A broker with a topic, and its consumers."""

    folder: Path
    topic_id: str | None = "first"
    consumed_id: str = "first"
    consumers: int = 1
    lag_messages: int | None = 0
    lag_seconds: float = 0.0
    messages: int = 0
    rejected: int = 0
    silent_since: datetime | None = None
    is_unknown: bool = False
    world: SimulatedMachine = field(init=False)

    def __post_init__(self) -> None:
        self.world = SimulatedMachine(self.folder, stream=StreamChecks(TOPIC, self._ask_broker, self._activity))

    def _ask_broker(self) -> str:
        if self.topic_id is None:
            raise BrokerUnavailable("no answer in time")
        return self.topic_id

    def _activity(self) -> StreamActivity:
        if self.is_unknown:
            raise HealthUnknown
        if self.silent_since is not None:
            return StreamActivity(self.silent_since, [], self.messages, self.rejected)
        now = self.world.now
        reports = [
            ConsumerReport(str(number), f"{TOPIC} ({self.consumed_id})", now, self.lag_messages, self.lag_seconds)
            for number in range(self.consumers)
        ]
        return StreamActivity(now, reports, self.messages, self.rejected)

    def check(self, times: int = 1) -> list[str]:
        """Run checks, and return the subjects sent."""
        return self.world.check(times)

    def restart_watchdog(self) -> None:
        """Replace the watchdog by a new watchdog, which reads the same files."""
        world = self.world
        self.world = replace(world, stream=world.watchdog.checks.stream)

    def incident(self) -> dict[str, Any]:
        (incident,) = self.world.watchdog.store.state().open
        return incident


@pytest.fixture
def stream(tmp_path: Path) -> SimulatedStream:
    return SimulatedStream(tmp_path)


def test_healthy_stream_sends_nothing(stream: SimulatedStream) -> None:
    assert stream.check(10) == []


def test_missing_broker_is_one_incident_and_hides_its_consequences(stream: SimulatedStream) -> None:
    stream.check()
    stream.topic_id, stream.silent_since = None, stream.world.now
    assert stream.check(20) == [BROKER]
    body = incident_body(stream.incident())
    assert "no answer in time" in body
    assert "#the-broker-of-the-stream-does-not-answer" in body
    stream.topic_id, stream.silent_since = "first", None
    assert stream.check(3) == [f"Over: {BROKER}"]


def test_silent_consumer_is_an_incident_after_minutes(stream: SimulatedStream) -> None:
    stream.check()
    stream.silent_since = stream.world.now
    assert stream.check(8) == []
    assert stream.check(8) == [CONSUMER]
    stream.silent_since = None
    assert stream.check(2) == [f"Over: {CONSUMER}"]


@pytest.mark.parametrize(("stopped", "down"), [(True, False), (False, True)])
def test_consumer_of_make_up_that_is_stopped_or_down_is_one_incident(
    stream: SimulatedStream, stopped: bool, down: bool
) -> None:
    stream.world.processes = RUNNING
    stream.check()
    stream.world.processes = [RUNNING[0], ProcessState("stream", 0, stopped, down)]
    assert stream.check(10) == [CONSUMER]
    stream.world.processes = [RUNNING[0], ProcessState("stream", 13, stopped=False)]
    assert stream.check(3) == [f"Over: {CONSUMER}"]


def test_unknown_state_changes_nothing(stream: SimulatedStream) -> None:
    stream.lag_seconds = 3_600
    stream.check(2)
    stream.is_unknown = True
    assert stream.check(30) == []
    assert stream.world.open() == ["stream-lag"]


def test_database_outage_is_no_incident_of_the_stream(stream: SimulatedStream) -> None:
    stream.world.problems, stream.silent_since = {"database": "no connection"}, START
    assert stream.check(30) == ["the database does not answer"]


def test_long_lag_opens_once_and_closes_well_below_the_limit(stream: SimulatedStream) -> None:
    stream.lag_seconds, stream.lag_messages = 61, 1_200
    assert stream.check(5) == [LAG]
    assert "61 s late, and 1,200 wait; the limit is 60 s (ALERT_STREAM_LAG_SECONDS)" in stream.incident()["what"]
    stream.lag_seconds = 45
    assert stream.check(5) == []
    stream.lag_seconds = 3
    assert stream.check(5) == [f"Over: {LAG}"]
    stream.lag_seconds = 45
    assert stream.check(5) == []


def test_lag_in_messages_may_be_unknown(stream: SimulatedStream) -> None:
    stream.lag_seconds, stream.lag_messages = 61, None
    assert stream.check(5) == [LAG]
    assert "61 s late; the limit" in stream.incident()["what"]


def test_high_share_of_rejected_messages_opens_once_and_closes(stream: SimulatedStream) -> None:
    stream.messages, stream.rejected = 400, 37
    assert stream.check(5) == [REJECTED]
    assert "37 of 400 messages within 15 minutes (9%); the limit is 5%" in stream.incident()["what"]
    stream.rejected = 12
    assert stream.check(5) == []
    stream.messages, stream.rejected = 0, 0
    assert stream.check(5) == [f"Over: {REJECTED}"]


@pytest.mark.parametrize(("messages", "rejected"), [(19, 19), (400, 20), (0, 30)])
def test_few_or_few_rejected_messages_are_no_incident(stream: SimulatedStream, messages: int, rejected: int) -> None:
    stream.messages, stream.rejected = messages, rejected
    assert stream.check(5) == []


def test_topic_created_again_closes_when_the_new_topic_is_consumed(stream: SimulatedStream) -> None:
    stream.check()
    stream.topic_id = "second"
    assert stream.check(4) == [CREATED_AGAIN]
    stream.consumed_id, stream.lag_seconds = "second", 20
    assert stream.check(4) == []
    stream.lag_seconds = 0
    assert stream.check(4) == [f"Over: {CREATED_AGAIN}"]
    assert stream.check(4) == []


def test_topic_created_again_and_consumed_between_two_checks_is_one_message(stream: SimulatedStream) -> None:
    stream.check()
    stream.topic_id = stream.consumed_id = "second"
    assert stream.check(4) == [f"Over: {CREATED_AGAIN}"]


def test_topic_created_again_while_no_watchdog_runs_is_an_incident(stream: SimulatedStream) -> None:
    stream.check()
    stream.topic_id = "second"
    stream.restart_watchdog()
    assert stream.check(2) == [CREATED_AGAIN]


def test_empty_broker_that_make_up_starts_is_no_incident(stream: SimulatedStream) -> None:
    stream.world.processes = RUNNING
    stream.check()
    stream.topic_id = stream.consumed_id = "second"
    stream.restart_watchdog()
    assert stream.check(4) == []
    stream.topic_id = "third"
    assert stream.check(2) == [CREATED_AGAIN]


def test_incidents_close_when_streaming_is_turned_off(stream: SimulatedStream) -> None:
    stream.lag_seconds = 100
    stream.check(2)
    world = replace(stream.world, stream=None)
    assert world.check(2) == [f"Over: {LAG}"]


def test_no_broker_in_the_settings_is_no_check(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path)  # type: ignore[call-arg]
    assert stream_checks(settings, str, lambda: START + timedelta(0)) is None
