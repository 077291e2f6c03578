"""The watchdog with a real broker, a real consumer and a real database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from subprocess import Popen

import pytest

from core.clock import utc_now
from notifications.stream_incidents import read_activity
from notifications.watchdog import Watchdog, make_watchdog
from streaming import minutes
from streaming.local_broker import create_topic, start_broker
from tests.integration.serving.api import free_port
from tests.integration.streaming.conftest import Stream, row, until

TIME = "2024-04-01T10:00:00"


@dataclass
class OwnBroker:
    """A broker of one test, with a stream on it."""

    port: int
    process: Popen[bytes]
    stream: Stream

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def start(self) -> None:
        """Start it again, without messages."""
        self.process = start_broker(self.port)
        create_topic(self.port, self.stream.topic, partitions=1)
        self.stream.__post_init__()


@pytest.fixture
def own_broker(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnBroker]:
    monkeypatch.setattr(minutes, "SAVE_SECONDS", 0.3)
    port = free_port()
    process = start_broker(port)
    create_topic(port, stream.topic, partitions=1)
    settings = stream.settings.model_copy(update={"stream_bootstrap_servers": f"127.0.0.1:{port}"})
    broker = OwnBroker(port, process, Stream(port, stream.topic, stream.place, settings))
    yield broker
    broker.kill()


def open_incidents(watchdog: Watchdog) -> set[str]:
    """Check once, and return the keys of the open incidents of the stream."""
    watchdog.check()
    return {key for incident in watchdog.store.state().open if (key := str(incident["key"])).startswith("stream")}


def test_broker_outage_and_new_topic_open_and_close_their_incidents(own_broker: OwnBroker) -> None:
    stream = own_broker.stream
    watchdog = make_watchdog(stream.settings)
    with stream.consuming():
        stream.send(row(1, TIME, [3]))
        stream.wait_for(1)
        until(lambda: read_activity(stream.place.database, utc_now()).consumers, "a report")
        assert open_incidents(watchdog) == set()

        own_broker.kill()
        until(lambda: open_incidents(watchdog) == {"stream-broker"}, "an incident of the broker")

        own_broker.start()
        incidents = open_incidents(watchdog)
        assert "stream-topic" in incidents
        assert "stream-broker" not in incidents
        stream.send(row(2, TIME, [3]))
        until(lambda: open_incidents(watchdog) == set(), "no incident")
    assert len(stream.sessions()) == 2


def test_rejected_messages_and_lag_open_and_close_their_incidents(own_broker: OwnBroker) -> None:
    stream = own_broker.stream
    watchdog = make_watchdog(stream.settings.model_copy(update={"alert_stream_lag_seconds": 1e-6}))
    sending = threading.Event()

    def send() -> None:
        while not sending.wait(0.01):
            stream.send(b"not JSON", row(1, TIME, [3]))

    with stream.consuming():
        sender = threading.Thread(target=send)
        sender.start()
        try:
            until(lambda: {"stream-lag", "stream-rejected"} <= open_incidents(watchdog), "both incidents")
        finally:
            sending.set()
            sender.join()
        until(lambda: "stream-lag" not in open_incidents(watchdog), "the end of the lag")
        stream.query("with valid as (update stream.minutes set rejected = 0 returning 1) select 1 from valid")
        until(lambda: open_incidents(watchdog) == set(), "no incident")


def test_missing_consumer_opens_an_incident_that_a_consumer_closes(own_broker: OwnBroker) -> None:
    stream = own_broker.stream
    watchdog = make_watchdog(stream.settings)
    until(lambda: open_incidents(watchdog) == {"stream-consumer"}, "an incident")
    with stream.consuming():
        until(lambda: open_incidents(watchdog) == set(), "no incident")
