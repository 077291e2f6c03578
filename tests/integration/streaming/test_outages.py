"""Failures of consumers, broker and database: no message is lost or stored twice."""

from __future__ import annotations

import logging
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
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from psycopg.conninfo import make_conninfo

from core import embedded_postgres
from core.data_layout import DataLayout
from core.database import migrate
from core.errors import SettingsError
from core.roles import STREAM, in_role
from core.settings import Settings
from streaming import consumer as consumer_module
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


def recorded(stream: Stream) -> int:
    """The number of stored messages according to stream.offsets."""
    return int(stream.query("select coalesce(sum(messages), 0) from stream.offsets")[0][0])


def disconnect(stream: Stream) -> None:
    """End all other connections to the database."""
    stream.query(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )


def open_files_and_threads() -> int:
    return len(os.listdir("/proc/self/fd")) + len(os.listdir("/proc/self/task"))


def test_killed_consumers_lose_and_repeat_nothing(stream: Stream) -> None:
    """Ten consumers are killed: two pairs, then six single consumers."""
    chance = random.Random(7)
    sent = 0
    for at_once in (2, 1, 1, 1, 2, 1, 1, 1):
        with ExitStack() as stack:
            consumers = [stack.enter_context(process()) for _ in range(at_once)]
            deadline = time.monotonic() + 1.5 + chance.random() * 2
            while time.monotonic() < deadline:
                stream.send(*(numbered(sent + number) for number in range(5)))
                sent += 5
                time.sleep(0.01)
            for consumer in consumers:
                consumer.send_signal(signal.SIGKILL)
    with stream.consuming():
        until(lambda: consumed(stream) == sent, "all messages")

    assert (stored(stream), recorded(stream)) == (sent, sent)
    assert stream.query("select count(*) from ops.rejected_rows where topic is not null") == [(0,)]


def test_consumer_starts_anew_on_a_topic_that_was_created_again(stream: Stream) -> None:
    port = free_port()
    with ExitStack() as brokers:
        brokers.enter_context(running_broker(port, stream.topic, partitions=1))
        moved_stream = at_port(stream, port)
        with moved_stream.consuming():
            moved_stream.send(*map(numbered, range(20)))
            moved_stream.wait_for(20)
            brokers.close()
            time.sleep(1)
            brokers.enter_context(running_broker(port, stream.topic, partitions=1))
            moved_stream = at_port(stream, port, moved_stream.batches)
            moved_stream.send(*map(numbered, range(20, 30)))
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


def test_consumer_started_before_its_broker_waits(stream: Stream) -> None:
    port = free_port()
    with at_port(stream, port).consuming():
        time.sleep(1)
        with running_broker(port, stream.topic, partitions=1):
            at_port(stream, port).send(*map(numbered, range(5)))
            until(lambda: stored(stream) == 5, "messages")


def test_fresh_recommendations_follow_a_publication_while_the_broker_is_unavailable(stream: Stream) -> None:
    port = free_port()
    with running_broker(port, stream.topic, partitions=1) as broker:
        moved_stream = at_port(stream, port)
        with moved_stream.consuming():
            moved_stream.send(row(1, "2024-04-01T10:00:00", [3, 5, 7]))
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
            disconnect(stream)
        until(lambda: consumed(stream) == sent, "all messages")

    assert (stored(stream), recorded(stream)) == (sent, sent)
    assert len(consumers) == 1, "the consumer stays in its group"


def test_second_owner_of_a_partition_stores_nothing(stream: Stream) -> None:
    """Two consumers of different groups both have every partition. Only one of them stores a message."""
    with stream.consuming(stream_group="one"), stream.consuming(stream_group="two"):
        for number in range(20):
            stream.send(numbered(number))
        until(lambda: consumed(stream) == 20, "all messages")
        time.sleep(1)

    assert (stored(stream), recorded(stream)) == (20, 20)
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
                assert (stored(after), recorded(after)) == (420, 420)
    finally:
        embedded_postgres.stop_if_unused(folder)


def test_broker_that_hangs_loses_and_repeats_nothing(stream: Stream) -> None:
    """It hangs longer than the session timeout of the group, and longer than the timeout of each request."""
    port = free_port()
    with running_broker(port, stream.topic) as broker:
        moved_stream = at_port(stream, port)
        with moved_stream.consuming():
            moved_stream.send(*map(numbered, range(20)))
            moved_stream.wait_for(20)
            broker.send_signal(signal.SIGSTOP)
            time.sleep(8)
            broker.send_signal(signal.SIGCONT)
            moved_stream.send(*map(numbered, range(20, 40)))
            until(lambda: consumed(stream) == 40, "all messages")
    assert (stored(stream), recorded(stream)) == (40, 40)


def test_long_outage_of_the_broker_uses_up_nothing(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With the usual timeouts these attempts take minutes."""
    caplog.set_level(logging.CRITICAL, "streaming.consumer")  # pytest would keep the errors, and so the clients
    monkeypatch.setattr(kafka, "_REQUEST_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(kafka, "_JOIN_SECONDS", 0.1)
    monkeypatch.setattr(consumer_module, "_RETRY_SECONDS", 0.02)
    attempts: list[float] = []
    make_admin = kafka._make_admin

    def count(settings: Settings) -> AdminClient:
        attempts.append(time.monotonic())
        return make_admin(settings)

    monkeypatch.setattr(kafka, "_make_admin", count)
    port = free_port()
    with ExitStack() as brokers:
        brokers.enter_context(running_broker(port, stream.topic))
        other_stream = at_port(stream, port)
        with other_stream.consuming():
            other_stream.send(*map(numbered, range(20)))
            other_stream.wait_for(20)
            brokers.close()
            attempts.clear()
            until(lambda: len(attempts) >= 5, "some attempts")
            before = open_files_and_threads()
            until(lambda: len(attempts) >= 45, "more attempts")
            assert open_files_and_threads() <= before + 20
            monkeypatch.undo()
            brokers.enter_context(running_broker(port, stream.topic))
            at_port(stream, port).send(*map(numbered, range(20, 40)))
            until(lambda: stored(stream) == 40, "all messages")
    assert recorded(stream) == 40


def test_consumer_that_left_its_group_during_a_long_outage_of_the_database_joins_again(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A consumer that does not poll for five minutes loses its partitions; here for two seconds."""
    logger = logging.getLogger("librdkafka")
    monkeypatch.setattr(logger, "disabled", False)  # Prefect's logging may have disabled it in this process
    monkeypatch.setattr(logger, "handlers", [*logger.handlers, caplog.handler])
    kafka_consumer = kafka.Consumer
    monkeypatch.setattr(kafka, "Consumer", lambda options: kafka_consumer(options | {"max.poll.interval.ms": 2000}))
    url = in_role(stream.place.database, STREAM)
    wrong_url = make_conninfo(url, dbname="no_such_database")
    connect, used_urls = consumer_module.connect, list[str]()

    def connect_and_record(url: str, **options: Any) -> Any:
        used_urls.append(url)
        return connect(url, **options)

    monkeypatch.setattr(consumer_module, "connect", connect_and_record)
    with stream.consuming() as consumer:
        stream.send(*map(numbered, range(20)))
        stream.wait_for(20)
        consumer.database_url = wrong_url
        disconnect(stream)
        until(lambda: wrong_url in used_urls, "the consumer loses its connection, and polls no more")
        time.sleep(4)
        stream.send(*map(numbered, range(20, 40)))
        consumer.database_url = url
        until(lambda: consumed(stream) == 40, "all messages")

    assert any("maximum poll interval" in message for message in caplog.messages)
    assert (stored(stream), recorded(stream)) == (40, 40)


def test_rebalance_during_a_batch_stores_it_once(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second consumer joins while the first is about to store. The first stores after it lost its partitions."""
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

    assert (stored(stream), recorded(stream)) == (100, 100)


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
