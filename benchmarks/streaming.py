"""The consumer: its rate against a bare loop, its memory, and the time from a play to the user's recommendations."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import numpy as np
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import Producer

from benchmarks import sample_data
from benchmarks.context import NO_SOURCE, BenchmarkContext, migrate_and_connect, url_of
from benchmarks.figures import Figure, Measurement, PairedRuns, Table
from benchmarks.processes import ROOT, Show, wait_until
from core.clock import utc_now
from core.database import connect
from core.malloc import use_one_arena
from core.settings import Settings
from demo.local_services import free_ports
from recommender.publishing.scoring import read_mart_data
from streaming.consumer import Consumer
from streaming.local_broker import HOST, create_topic, start_broker
from streaming.store import StoredBatch

PLAYS_PER_SESSION = 5
RATE = 200
MODELS = ("als", "chebyshev_als", "chebyshev_content")
_PARTITIONS = 4
_BEGIN = datetime(2024, 6, 1)


def measure(context: BenchmarkContext) -> Measurement:
    """Consume a backlog in turns with a bare loop, then plays at a constant rate with several models."""
    users, tracks = context.capped(30_000, 40_000)
    sessions, seconds = min(200_000, context.sizes.sessions), min(20.0, users / 1000)
    with local_broker() as port:
        stream = {"stream_bootstrap_servers": f"{HOST}:{port}", "stream_session_timeout_seconds": 1.0}
        settings = context.settings("streaming", NO_SOURCE).model_copy(update=stream)
        context.run(fill, settings, users, tracks)
        consumed = {}
        for number, name in enumerate(MODELS):
            context.run(publish, settings, name)
            consumed[name] = context.run(consume_at_rate, settings, port, users, tracks, RATE, seconds, 2 * number)
        runs, wrong_plays, backlog_peak = compare_backlog(context, settings, port, users, tracks, sessions)
    median, slowest = (
        {name: float(np.percentile(process.result, percent)) for name, process in consumed.items()}
        for percent in (50, 99)
    )
    peak = max(backlog_peak, *(process.peak_bytes for process in consumed.values())) / 1e6
    sizes, plays = f"{users:,} users, {tracks:,} tracks", sessions * PLAYS_PER_SESSION
    within = "of the recommendations after a play within, slowest model"
    rate = f"{RATE} plays a second, {sizes}"
    figures = [
        runs.rate_figure(
            "streaming: a backlog of plays, share of the rate of a bare loop",
            "plays",
            f", {sessions:,} sessions of {PLAYS_PER_SESSION} plays",
            at_least=0.5,
        ),
        Figure(
            "streaming: share of the plays of a backlog that are stored exactly once",
            1 - wrong_plays / plays,
            f"{plays:,} plays, {wrong_plays:,} of them lost or stored twice",
            at_least=1.0,
        ),
        Figure(f"streaming: half {within}", max(median.values()), rate, unit="s", at_most=0.3),
        Figure(f"streaming: 99 % {within}", max(slowest.values()), rate, unit="s", at_most=1.0),
        Figure("streaming: peak memory of the consumer", peak, sizes, unit="MB", at_most=600.0),
    ]
    rows = [
        f"{name} | {median[name]:.2f} s | {slowest[name]:.2f} s | {process.peak_bytes / 1e6:,.0f} MB"
        for name, process in consumed.items()
    ]
    note = "From sending a play until the user's recommendations are committed."
    return Measurement(figures, [Table("From a play to recommendations", "model | 50 % | 99 % | memory", rows, note)])


@contextmanager
def local_broker() -> Iterator[int]:
    """A local Kafka broker. Yields its port."""
    port = free_ports(1)[0]
    process = start_broker(port)
    try:
        yield port
    finally:
        process.kill()
        process.wait()


def fill(show: Show, settings: Settings, users: int, tracks: int) -> None:
    """Fill the warehouse with users, tracks and the plays of each user."""
    show("filling the warehouse")
    plays = sample_data.make_plays(users, tracks, sample_data.PAIRS_PER_USER * users)
    with migrate_and_connect(settings) as connection:
        sample_data.insert_catalogue(connection, users, tracks)
        sample_data.insert_play_counts(connection, plays)


def publish(show: Show, settings: Settings, name: str) -> None:
    """Fit a model on all plays, and make its publication live. The publication has recommendations for one user.

    Streamed sessions are deleted: after the publication, the consumer would recommend to their users meanwhile.
    """
    with connect(url_of(settings)) as connection:
        connection.execute("truncate stream.sessions")
        plays = read_mart_data(connection, utc_now()).interactions
        show(f"fitting {name}")
        publication_id = sample_data.publish(connection, sample_data.make_recommendations(1, len(plays.track_ids)))
        sample_data.record_model(connection, settings, publication_id, name, plays)


def consume_at_rate(
    show: Show, settings: Settings, port: int, users: int, tracks: int, rate: float, seconds: float, first_part: int = 0
) -> list[float]:
    """Consume plays of random users at a constant rate: two parts, so other calls need other parts.

    Returns the seconds from sending the first play of a user until recommendations that include it were committed.
    """
    use_one_arena()
    settings = _with_topic(settings, port)
    show(f"{rate:,.0f} plays a second")
    ages, stored = list[float](), list[int]()
    with _consuming(settings, lambda batch: stored.append(batch.messages)) as consumer:

        def has_consumed(count: int) -> bool:
            waiting = consumer.metrics.registry.get_sample_value("moovitamix_stream_waiting_users")
            return sum(stored) >= count and not waiting

        consumer.metrics.play_to_list.observe = ages.append  # type: ignore[assignment, method-assign]
        _wait(lambda: consumer.metrics.model_loads._value.get() > 0)
        # Some plays warm up caches and query plans.
        for part, count in enumerate((int(2 * rate), int(seconds * rate)), first_part):
            ages.clear()
            stored.clear()
            arguments = (settings.stream_topic, port, users, tracks, count, 1, part, rate)
            code = f"from benchmarks.streaming import send; send{arguments!r}"
            subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
            _wait(lambda count=count: has_consumed(count))  # type: ignore[misc]
    return ages


def compare_backlog(
    context: BenchmarkContext, settings: Settings, port: int, users: int, tracks: int, sessions: int
) -> tuple[PairedRuns, int, int]:
    """Consume the same backlog with the consumer, and with a loop that decodes it and copies it to one table.

    Also returns how many plays the consumer lost or stored twice, and its peak memory in bytes.
    """
    settings = _with_topic(settings, port)
    context.show(f"sending {sessions:,} sessions")
    send(settings.stream_topic, port, users, tracks, sessions, PLAYS_PER_SESSION, 0, None)
    pairs, peaks, wrong_plays = [], [], []
    for _ in range(context.rounds):
        consumed = context.run(consume_backlog, settings, sessions)
        pairs.append((consumed.result[0], context.run(copy_backlog, settings, sessions).result))
        peaks.append(consumed.peak_bytes)
        wrong_plays.append(consumed.result[1])
    return PairedRuns(sessions * PLAYS_PER_SESSION, pairs), max(wrong_plays), max(peaks)


def consume_backlog(show: Show, settings: Settings, sessions: int) -> tuple[float, int]:
    """The seconds from the first stored batch to the last one, for all messages, and the plays lost or stored twice."""
    use_one_arena()
    show("consuming the backlog")
    times, consumed = list[float](), list[int]()

    def count(stored: StoredBatch) -> None:
        times.append(time.perf_counter())
        consumed.append(stored.messages)

    with connect(url_of(settings)) as connection:
        connection.execute("truncate stream.sessions, stream.offsets")
        with _consuming(settings, count):
            _wait(lambda: sum(consumed) >= sessions)
        ((plays, messages),) = connection.execute(
            "select (select coalesce(sum(cardinality(items)), 0)::bigint from stream.sessions),"
            " (select coalesce(sum(messages), 0)::bigint from stream.offsets)"
        ).fetchall()
    # A session has one key, so that it could hide a message that was stored twice: messages are counted apart.
    wrong_plays = max(abs(plays - sessions * PLAYS_PER_SESSION), abs(messages - sessions) * PLAYS_PER_SESSION)
    # The first batch only starts the clock, because the broker decides how long joining a group takes.
    return (times[-1] - times[0]) * sessions / (sessions - consumed[0]), wrong_plays


def copy_backlog(show: Show, settings: Settings, sessions: int) -> float:
    """The seconds of the bare loop from the first batch to the last one, for all messages."""
    show("copying the backlog")
    consumer = KafkaConsumer(
        {
            "bootstrap.servers": settings.stream_bootstrap_servers,
            "group.id": f"bare-{time.time()}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": 1000,
        }
    )
    consumer.subscribe([settings.stream_topic])
    try:
        with connect(url_of(settings)) as connection:
            connection.execute(sample_data.read_sql("bare_messages"))
            while not (messages := consumer.consume(settings.stream_batch_messages, 1)):
                pass
            first = received = len(messages)
            began = time.perf_counter()
            while True:
                with connection.cursor() as cursor, cursor.copy("copy bare.messages from stdin") as copy:
                    for message in messages:
                        row = json.loads(message.value() or b"")
                        copy.write_row((row["user_id"], row["items"], row["created_at"], row["updated_at"]))
                if received >= sessions:
                    return (time.perf_counter() - began) * sessions / (sessions - first)
                messages = consumer.consume(settings.stream_batch_messages, 1)
                received += len(messages)
    finally:
        consumer.close()


def send(topic: str, port: int, users: int, tracks: int, count: int, plays: int, part: int, rate: float | None) -> None:
    """Send sessions of random users. Each `part` has different sessions. Without a rate, all are sent at once."""
    random = np.random.default_rng(part)
    user_ids = random.integers(1, users + 1, count).tolist()
    items = random.integers(1, tracks + 1, (count, plays))
    items -= items % 100 == 0  # these tracks are removed
    producer = Producer({"bootstrap.servers": f"{HOST}:{port}", "linger.ms": 0 if rate else 50})
    started = time.perf_counter()
    for number, (user_id, tracks_played) in enumerate(zip(user_ids, np.maximum(items, 1).tolist(), strict=True)):
        if rate and (delay := started + number / rate - time.perf_counter()) > 0:
            time.sleep(delay)
        moment = (_BEGIN + timedelta(days=part, milliseconds=number)).isoformat()
        value = {"user_id": user_id, "items": tracks_played, "created_at": moment, "updated_at": moment}
        while True:
            try:
                producer.produce(topic, json.dumps(value), str(user_id))
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    producer.flush()


def _with_topic(settings: Settings, port: int) -> Settings:
    topic = f"listens-{time.time_ns()}"
    create_topic(port, topic, _PARTITIONS)
    return settings.model_copy(update={"stream_topic": topic, "stream_group": topic})


@contextmanager
def _consuming(settings: Settings, after_batch: Callable[[StoredBatch], None]) -> Iterator[Consumer]:
    consumer = Consumer(settings, url_of(settings), utc_now, after_batch=after_batch)
    thread = threading.Thread(target=consumer.run, daemon=True)
    thread.start()
    try:
        yield consumer
    finally:
        consumer.stop()
        thread.join()


def _wait(condition: Callable[[], object]) -> None:
    wait_until(condition, 600.0, "the consumer did not finish in time")
