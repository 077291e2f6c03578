"""What consumers, broker and database do to each other: nothing is lost, nothing is stored twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException

from core import embedded_postgres
from core.data_layout import DataLayout
from core.database import migrate
from core.errors import SettingsError
from streaming import kafka
from streaming.local_broker import create_topic, start_broker
from streaming.messages import Message
from streaming.store import SessionStore, StoredBatch
from tests.ingest_runs import open_query
from tests.integration.serving.api import free_port
from tests.integration.streaming.conftest import SECONDS, Stream, refresh, row, until
from tests.integration.streaming.test_consuming import fresh

ROOT = Path(__file__).parent.parent.parent.parent


@contextmanager
def process(**environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A consumer as a process of its own."""
    started = subprocess.Popen(
        [sys.executable, "-m", "streaming"],
        cwd=ROOT,
        env=os.environ | {"STREAM_METRICS_PORT": str(free_port()), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


@contextmanager
def running_broker(port: int, topic: str, partitions: int = 4) -> Iterator[subprocess.Popen[bytes]]:
    """A broker with one topic, killed at the end."""
    broker = start_broker(port)
    try:
        create_topic(port, topic, partitions)
        yield broker
    finally:
        broker.kill()
        broker.wait()


def at_port(stream: Stream, port: int, batches: list[StoredBatch] | None = None) -> Stream:
    """The same database, with the topic of another broker."""
    settings = stream.settings.model_copy(update={"stream_bootstrap_servers": f"127.0.0.1:{port}"})
    return Stream(port, stream.topic, stream.place, settings, [] if batches is None else batches)


def numbered(number: int) -> dict[str, object]:
    """A session that no other number has."""
    moment = datetime(2024, 4, 1) + timedelta(seconds=number)
    return row(1 + number % 120, moment.isoformat(), [3, 5])


def stored(stream: Stream) -> int:
    return int(stream.query("select count(*) from stream.sessions")[0][0])


def consumed(stream: Stream) -> int:
    return int(stream.query("select coalesce(sum(next_offset), 0) from stream.offsets")[0][0])


def counted(stream: Stream) -> int:
    """How many messages were stored, by count."""
    return int(stream.query("select coalesce(sum(messages), 0) from stream.offsets")[0][0])


def test_killed_consumers_lose_and_repeat_nothing(stream: Stream) -> None:
    """Ten are killed: two pairs, and six that are alone."""
    chance = random.Random(7)
    sent = 0
    for at_once in (2, 1, 1, 1, 2, 1, 1, 1):
        with ExitStack() as stack:
            consumers = [stack.enter_context(process()) for _ in range(at_once)]
            until_time = time.monotonic() + 1.5 + chance.random() * 2
            while time.monotonic() < until_time:
                stream.send(*(numbered(sent + number) for number in range(5)))
                sent += 5
                time.sleep(0.01)
            for consumer in consumers:
                consumer.send_signal(signal.SIGKILL)
    with stream.consuming():
        until(lambda: consumed(stream) == sent, "all messages")

    assert (stored(stream), counted(stream)) == (sent, sent)
    assert stream.query("select count(*) from ops.rejected_rows where topic is not null") == [(0,)]


def test_consumer_starts_anew_on_a_topic_that_was_created_again(stream: Stream) -> None:
    port = free_port()
    with ExitStack() as brokers:
        brokers.enter_context(running_broker(port, stream.topic, partitions=1))
        other = at_port(stream, port)
        with other.consuming():
            other.send(*map(numbered, range(20)))
            other.wait_for(20)
            brokers.close()
            time.sleep(1)
            brokers.enter_context(running_broker(port, stream.topic, partitions=1))
            other = at_port(stream, port, other.batches)
            other.send(*map(numbered, range(20, 30)))
            until(lambda: stored(stream) == 30, "messages of the new topic")
    assert stream.query("select next_offset, messages from stream.offsets order by 1") == [(10, 10), (20, 20)]


def test_consumer_that_ends_while_it_joins_does_not_block_its_group(stream: Stream) -> None:
    """A member that leaves the group of the local broker while it joins would block the group until the broker ends."""
    for _ in range(2):
        topic = kafka.KafkaTopic(stream.settings)
        topic.receive(1, 0.3)
        topic.close()
    with stream.consuming():
        stream.send(numbered(1))
        stream.wait_for(1)


def test_broker_that_restarts_at_once_does_not_block_the_group(stream: Stream) -> None:
    port = free_port()
    batches: list[StoredBatch] = []
    with ExitStack() as brokers:
        for number in range(3):
            brokers.close()
            brokers.enter_context(running_broker(port, stream.topic))
            restarted = at_port(stream, port, batches)
            if not number:
                consumer = restarted.consumer()
                thread = threading.Thread(target=consumer.run)
                thread.start()
            restarted.send(numbered(number))
            try:
                restarted.wait_for(number + 1)
            except AssertionError:
                consumer.stop()
                raise
        consumer.stop()
        thread.join()
    assert stored(stream) == 3


def test_consumer_waits_for_a_broker_that_is_not_there_yet(stream: Stream) -> None:
    port = free_port()
    with at_port(stream, port).consuming():
        time.sleep(1)
        with running_broker(port, stream.topic, partitions=1):
            at_port(stream, port).send(*map(numbered, range(5)))
            until(lambda: stored(stream) == 5, "messages")


def test_fresh_recommendations_follow_a_publication_while_the_broker_is_unavailable(stream: Stream) -> None:
    port = free_port()
    with running_broker(port, stream.topic, partitions=1) as broker:
        other = at_port(stream, port)
        with other.consuming():
            other.send(row(1, "2024-04-01T10:00:00", [3, 5, 7]))
            until(lambda: fresh(stream), "fresh recommendations")
            broker.kill()
            broker.wait()
            publication = refresh(stream.place)
            query = "select publication_id from ml.fresh_recommendations"
            until(lambda: stream.query(query) == [(publication,)], "fresh recommendations of the new publication")


def test_lost_database_connections_lose_and_repeat_nothing(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    consumers: list[object] = []
    kafka_consumer = kafka.Consumer
    monkeypatch.setattr(kafka, "Consumer", lambda options: consumers.append(options) or kafka_consumer(options))
    sent = 0
    with stream.consuming(stream_batch_messages=7):
        for _ in range(6):
            stream.send(*(numbered(sent + number) for number in range(50)))
            sent += 50
            time.sleep(0.2)
            stream.query(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
        until(lambda: consumed(stream) == sent, "all messages")

    assert (stored(stream), counted(stream)) == (sent, sent)
    assert len(consumers) == 1, "the consumer stays in its group"


def test_second_owner_of_a_partition_stores_nothing(stream: Stream) -> None:
    """Two consumers of different groups are both given every partition: only one of them stores a message."""
    with stream.consuming(stream_group="one"), stream.consuming(stream_group="two"):
        for number in range(20):
            stream.send(numbered(number))
        until(lambda: consumed(stream) == 20, "all messages")
        time.sleep(1)

    assert (stored(stream), counted(stream)) == (20, 20)
    assert sum(batch.messages for batch in stream.batches) == 20


def test_killed_database_server_loses_and_repeats_nothing(broker: int, stream: Stream, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    url = embedded_postgres.start(folder)
    migrate(url)
    try:
        place = replace(stream.place, database=url)
        own = replace(stream, place=place)
        with own.consuming():
            own.send(*map(numbered, range(40)))
            own.wait_for(40)
            own.send(*map(numbered, range(40, 400)))
            pid = int((DataLayout(folder).postgres / "postmaster.pid").read_text().split()[0])
            os.kill(pid, signal.SIGKILL)
            time.sleep(2)
            assert embedded_postgres.start(folder) == url
            own.send(*map(numbered, range(400, 420)))
            with open_query(url) as query:
                after = replace(own, place=replace(place, query=query))
                until(lambda: consumed(after) == 420, "all messages")
                assert (stored(after), counted(after)) == (420, 420)
    finally:
        embedded_postgres.stop_if_unused(folder)


def test_broker_that_hangs_loses_and_repeats_nothing(stream: Stream) -> None:
    """It hangs longer than the group waits for its consumers, and than each request waits for its answer."""
    port = free_port()
    with running_broker(port, stream.topic) as broker:
        other = at_port(stream, port)
        with other.consuming():
            other.send(*map(numbered, range(20)))
            other.wait_for(20)
            broker.send_signal(signal.SIGSTOP)
            time.sleep(8)
            broker.send_signal(signal.SIGCONT)
            other.send(*map(numbered, range(20, 40)))
            until(lambda: consumed(stream) == 40, "all messages")
    assert (stored(stream), counted(stream)) == (40, 40)


def test_rebalance_during_a_batch_stores_it_once(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second consumer joins while the first is about to store, and stays so until it has lost its partitions."""
    is_storing, may_store = threading.Event(), threading.Event()
    store = SessionStore.store

    def wait_once(self: SessionStore, messages: Sequence[Message], now: datetime) -> StoredBatch:
        if not is_storing.is_set():
            is_storing.set()
            assert may_store.wait(SECONDS)
        return store(self, messages, now)

    monkeypatch.setattr(SessionStore, "store", wait_once)
    with stream.consuming():
        stream.send(*map(numbered, range(50)))
        assert is_storing.wait(SECONDS)
        with stream.consuming():
            stream.send(*map(numbered, range(50, 100)))
            time.sleep(4)
            may_store.set()
            until(lambda: consumed(stream) == 100, "all messages")

    assert (stored(stream), counted(stream)) == (100, 100)


@pytest.mark.parametrize("method", ["poll", "assign"])
def test_error_of_the_kafka_client_does_not_end_the_consumer(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    failures: list[object] = []

    class Failing(kafka.Consumer):
        """Fails once, after partitions are assigned."""

        def fail_once(self, called: str, *values: object) -> object:
            if called == method and not failures and self.assignment():
                failures.append(called)
                raise KafkaException(KafkaError(KafkaError._STATE))
            return getattr(kafka_consumer, called)(self, *values)

        def poll(self, *values: object) -> object:
            return self.fail_once("poll", *values)

        def assign(self, *values: object) -> object:
            return self.fail_once("assign", *values)

    kafka_consumer = kafka.Consumer
    monkeypatch.setattr(kafka, "Consumer", Failing)
    with stream.consuming():
        stream.send(*map(numbered, range(5)), partition=0)
        stream.wait_for(5)
        # Another owner of the partition was faster: the next batch is fenced, and rewinds.
        stream.query("with moved as (update stream.offsets set next_offset = 6 returning 1) select 1 from moved")
        stream.send(*map(numbered, range(5, 10)), partition=0)
        until(lambda: consumed(stream) == 10, "all messages")

    assert failures
    assert stored(stream) == 9


def test_wrong_kafka_settings_are_reported_as_such(stream: Stream, tmp_path: Path) -> None:
    settings = {"stream_security_protocol": "SSL", "stream_ssl_ca_file": tmp_path / "missing.pem"}
    with pytest.raises(SettingsError, match="STREAM_"):
        stream.consumer(**settings).run()
