"""Pub/Sub as the transport, with Google's fake server. It delivers in any order, and again after the ack deadline."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from cli import stream_replay, stream_status
from core.clock import utc_now
from core.database import Connection, connect
from core.errors import SettingsError
from core.roles import STREAM, in_role
from core.settings import Settings, load_settings
from notifications.stream_incidents import stream_checks
from recommender.models.ease import EASE
from recommender.models.recipe import Recipe
from streaming.message_ids import MessageIds
from streaming.messages import Message
from streaming.store import SessionStore, StoredBatch
from streaming.transport import BrokerUnavailable
from tests.integration.serving.api import free_port
from tests.integration.streaming.conftest import SECONDS, Stream, StreamDatabase, at, row, train, until
from tests.integration.streaming.test_outages import numbered, process

pubsub_v1 = pytest.importorskip("google.cloud.pubsub_v1", reason="the extra pubsub is not installed; run `make setup`")
import grpc  # noqa: E402
from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: E402
from google.api_core.exceptions import PermissionDenied  # noqa: E402

from streaming import pubsub  # noqa: E402

TIME = "2024-04-01T10:00:00"
SOURCE = Path(__file__).parent / "fake_pubsub" / "main.go"
GO_LIBRARIES = Path("/usr/share/gocode")
PROJECT = "projects/moovitamix"
# The ack deadline of the subscriptions: the fake server then delivers an unacknowledged message again.
ACK_DEADLINE_SECONDS = 1


@pytest.fixture(scope="session")
def fake_server_binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Google's fake server, built from the source in Debian's package."""
    if shutil.which("go") is None or not (GO_LIBRARIES / "src/cloud.google.com/go/pubsub/pstest").is_dir():
        pytest.skip("no fake Pub/Sub server: install the Debian packages golang-go and golang-google-cloud-dev")
    folder = tmp_path_factory.mktemp("fake_pubsub")
    environment = {
        "PATH": os.environ["PATH"],
        "GO111MODULE": "off",
        "GOPATH": str(GO_LIBRARIES),
        "GOCACHE": str(folder / "cache"),
        "GOFLAGS": "-p=2",
        "CGO_ENABLED": "0",
    }
    subprocess.run(["go", "build", "-o", folder / "server", SOURCE], env=environment, cwd=folder, check=True)
    shutil.rmtree(folder / "cache")
    return folder / "server"


@pytest.fixture(scope="session")
def fake_server_process(fake_server_binary: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server that all tests of a process share, and its address."""
    with subprocess.Popen([fake_server_binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server, server.stdout.readline().strip()
        server.kill()


@pytest.fixture
def fake_server(fake_server_process: tuple[subprocess.Popen[str], str]) -> str:
    """The address of the server."""
    return fake_server_process[1]


@dataclass
class PubSubStream(Stream):
    """A topic with a subscription, and the database that its sessions go to."""

    subscription: str = ""
    message_ids: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.publisher = pubsub_v1.PublisherClient()
        self.subscriber = pubsub_v1.SubscriberClient()
        self.sent = 0
        self.publisher.create_topic(name=self.topic)

    def subscribe(self, ack_deadline_seconds: int = ACK_DEADLINE_SECONDS) -> None:
        self.subscriber.create_subscription(
            name=self.subscription, topic=self.topic, ack_deadline_seconds=ack_deadline_seconds
        )

    def send(self, *values: Any, partition: int = -1) -> None:
        """Publish messages. Values that are not bytes are sent as JSON."""
        bodies = [value if isinstance(value, bytes) else json.dumps(value).encode() for value in values]
        publications = [self.publisher.publish(self.topic, body) for body in bodies]
        self.message_ids += [publication.result(SECONDS) for publication in publications]
        self.sent += len(values)

    def receiver(self) -> pubsub.PubSubSubscription:
        """A consumer of messages that stores nothing."""
        return pubsub.PubSubSubscription(self.settings)

    def recorded(self) -> int:
        """The number of stored messages according to stream.subscriptions."""
        return int(self.query("select coalesce(sum(messages), 0) from stream.subscriptions")[0][0])

    def rejected(self) -> list[tuple[Any, ...]]:
        """The rejected messages, with their origin."""
        return self.query(
            'select topic, partition, "offset", message_id from ops.rejected_rows where topic is not null order by 4'
        )

    @property
    def redelivered(self) -> int:
        return sum(batch.redelivered for batch in self.batches)


@pytest.fixture
def unsubscribed(fake_server: str, place: StreamDatabase, monkeypatch: pytest.MonkeyPatch) -> Iterator[PubSubStream]:
    """A topic without its subscription."""
    name = uuid4().hex[:8]
    subscription = f"{PROJECT}/subscriptions/{name}"
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", fake_server)
    monkeypatch.setenv("STREAM_TRANSPORT", "pubsub")
    monkeypatch.setenv("STREAM_PUBSUB_SUBSCRIPTION", subscription)
    stream = PubSubStream(0, f"{PROJECT}/topics/{name}", place, load_settings(), subscription=subscription)
    yield stream
    stream.publisher.stop()
    stream.publisher.transport.close()
    stream.subscriber.close()


@pytest.fixture
def subscribed(unsubscribed: PubSubStream) -> PubSubStream:
    """A topic and its subscription."""
    unsubscribed.subscribe()
    return unsubscribed


def receive(receiver: pubsub.PubSubSubscription, max_messages: int = 100) -> list[Message]:
    """Wait for messages."""
    return list(until(lambda: receiver.receive(max_messages, 0.1), "messages"))


def until_locked(place: StreamDatabase, connection: Connection) -> None:
    """Wait until the connection waits for a lock."""
    waiting = "select from pg_stat_activity where pid = %s and wait_event_type = 'Lock'"
    until(lambda: place.query(waiting, connection.info.backend_pid), "a connection that waits")


def test_session_changes_recommendations_and_is_stored_once(subscribed: PubSubStream) -> None:
    train(subscribed.place, EASE(), Recipe(EASE.name))
    session = row(1, TIME, [3, 5, 5])
    with subscribed.consuming():
        subscribed.send(session, session)
        subscribed.wait_for(2)
        until(lambda: subscribed.query("select from ml.fresh_recommendations where user_id = 1"), "a fresh list")

    assert subscribed.sessions() == [(1, at(TIME), at(TIME), [3, 5, 5])]
    stored_from = subscribed.query('select topic, partition, "offset", message_id from stream.sessions')
    assert [place[:3] for place in stored_from] == [(subscribed.subscription, None, None)]
    assert stored_from[0][3] in subscribed.message_ids
    assert (subscribed.recorded(), subscribed.redelivered) == (2, 0)


def test_messages_that_were_not_acknowledged_are_stored_and_rejected_once(
    subscribed: PubSubStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each consumer stops between commit and acknowledgement, as if it were killed."""
    with monkeypatch.context() as patch:
        patch.setattr(pubsub.PubSubSubscription, "_acknowledge", lambda self, ack_ids: None)
        with subscribed.consuming():
            subscribed.send(row(1, TIME, [3]), b"not JSON", row(2, TIME, [5, "x"]), b"[]")
            subscribed.wait_for(4)
            until(lambda: subscribed.redelivered >= 4, "messages that come again")
    received_again = subscribed.redelivered
    with subscribed.consuming():
        until(lambda: subscribed.redelivered >= received_again + 4, "messages that come again")

    assert subscribed.recorded() == sum(batch.messages for batch in subscribed.batches) == 4
    assert [items for *_, items in subscribed.sessions()] == [[3], [5]]
    assert subscribed.rejected() == [
        (subscribed.subscription, None, None, message_id) for message_id in sorted(subscribed.message_ids[1:])
    ]


def test_killed_consumers_lose_and_repeat_nothing(subscribed: PubSubStream) -> None:
    chance = random.Random(7)
    sent = 0
    for _ in range(4):
        with process() as first, process() as second:
            until_time = time.monotonic() + 2 + chance.random() * 2
            while time.monotonic() < until_time:
                subscribed.send(*(numbered(sent + number) for number in range(4)), b"not JSON")
                sent += 4
                time.sleep(0.01)
            for consumer in (first, second):
                consumer.send_signal(signal.SIGKILL)
    with subscribed.consuming():
        until(lambda: subscribed.recorded() == subscribed.sent, "all messages")
        time.sleep(2 * ACK_DEADLINE_SECONDS)

    assert len(subscribed.sessions()) == sent
    assert sorted(message_id for *_, message_id in subscribed.rejected()) == sorted(subscribed.message_ids[4::5])
    assert subscribed.recorded() == subscribed.sent


@pytest.mark.parametrize("first_commits", [True, False])
def test_messages_that_two_consumers_receive_at_once_are_stored_by_one(
    place: StreamDatabase, first_commits: bool
) -> None:
    """The consumers receive the messages in opposite order, which must not end in a deadlock."""
    messages = [Message(b"not JSON", time.time(), message_id=name) for name in ("m1", "m2")]
    outcomes: list[StoredBatch] = []
    url = in_role(place.database, STREAM)
    with connect(url) as first, connect(url) as second:

        def store() -> None:
            outcomes.append(SessionStore(second, MessageIds(second, "a subscription")).store(messages[::-1], utc_now()))

        thread = threading.Thread(target=store)
        ids = MessageIds(first, "a subscription")
        ids.add([Message(b"", time.time(), message_id="m0")])
        with suppress(InterruptedError), first.transaction():
            assert ids.add(messages[:1]) == messages[:1]
            thread.start()
            until_locked(place, second)
            assert ids.add(messages[1:]) == messages[1:]
            if not first_commits:
                raise InterruptedError
        thread.join(SECONDS)

    assert [(batch.messages, batch.redelivered) for batch in outcomes] == [(0, 2) if first_commits else (2, 0)]
    assert place.query("select messages from stream.subscriptions") == [(3,)]
    rejected = place.query("select count(*) from ops.rejected_rows where topic is not null")
    assert rejected == [(0 if first_commits else 2,)]


def test_consumers_store_one_after_another(place: StreamDatabase) -> None:
    """The changes of a user are then visible in the order of their numbers, and no list misses a change."""
    url = in_role(place.database, STREAM)
    messages = [Message(json.dumps(numbered(number)).encode(), 1e9, message_id=f"m{number}") for number in (1, 2)]
    with connect(url) as first, connect(url) as second:
        stores = [SessionStore(connection, MessageIds(connection, "a subscription")) for connection in (first, second)]
        thread = threading.Thread(target=stores[1].store, args=(messages[1:], utc_now()))
        with first.transaction():
            stores[0].store(messages[:1], utc_now())
            thread.start()
            until_locked(place, second)
        thread.join(SECONDS)

    assert place.query("select message_id from stream.sessions order by change_id") == [("m1",), ("m2",)]


def test_message_that_comes_twice_in_a_batch_is_stored_once(place: StreamDatabase) -> None:
    messages = [Message(b"not JSON", 1e9, message_id=name) for name in ("m1", "m2", "m1")]
    with connect(in_role(place.database, STREAM)) as connection:
        stored = SessionStore(connection, MessageIds(connection, "a subscription")).store(messages, utc_now())

    assert (stored.messages, stored.redelivered, stored.rejected) == (2, 1, 2)


def test_ids_that_a_restarted_server_gives_again_are_new_messages(place: StreamDatabase) -> None:
    messages = [Message(b"", published_at, message_id="m1") for published_at in (1e9, 1e9 + 1e-6, 1e9)]
    with connect(in_role(place.database, STREAM)) as connection:
        ids = MessageIds(connection, "a subscription")
        assert [len(ids.add([message])) for message in messages] == [1, 1, 0]
        assert len(MessageIds(connection, "another subscription").add(messages[:1])) == 1


def test_ids_are_deleted_when_their_messages_cannot_come_again(place: StreamDatabase) -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    ages = {"old": 33, "older": 40, "oldest": 50, "retained": 31}
    messages = [Message(b"", (now - timedelta(days=days)).timestamp(), message_id=name) for name, days in ages.items()]
    with connect(in_role(place.database, STREAM)) as connection:
        MessageIds(connection, "another subscription").add(messages)
        ids = MessageIds(connection, "a subscription")
        ids.add(messages)
        ids.add([Message(b"", now.timestamp(), message_id="new")])
        rows = "select message_id from stream.message_ids order by subscription_id, published_at"
        assert place.query(rows)[4:] == [("old",), ("retained",), ("new",)]
        ids.add([Message(b"", now.timestamp(), message_id="newer")])

    assert place.query(rows)[4:] == [("retained",), ("new",), ("newer",)]
    assert place.query("select messages from stream.subscriptions order by 1") == [(4,), (6,)]


def test_newest_version_is_stored_in_any_order(subscribed: PubSubStream) -> None:
    versions = [row(1, TIME, [3, 5, 7][: number + 1], f"2024-04-01T10:0{number}:00") for number in range(3)]
    subscribed.send(*versions)
    with closing(subscribed.receiver()) as receiver:
        receive(receiver)
        subscribed.send(versions[1])  # stored before the others, which this consumer gives back when it ends
        with subscribed.consuming(stream_batch_messages=1):
            subscribed.wait_for(1)
            receiver.rewind()
            subscribed.wait_for(4)

    assert subscribed.sessions() == [(1, at(TIME), at("2024-04-01T10:02:00"), [3, 5, 7])]


def test_slow_batch_is_not_delivered_again(subscribed: PubSubStream) -> None:
    with subscribed.consuming(), connect(subscribed.place.database) as holder:
        subscribed.send(numbered(1))
        subscribed.wait_for(1)
        with closing(subscribed.receiver()) as other_consumer, holder.transaction():
            holder.execute("select from stream.subscriptions for update")
            subscribed.send(numbered(2))
            waiting = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
            until(lambda: subscribed.query(waiting), "a consumer that waits")
            until_time = time.monotonic() + 3 * ACK_DEADLINE_SECONDS
            while time.monotonic() < until_time:
                assert other_consumer.receive(10, 0.5) == []
        subscribed.wait_for(2)

    assert (subscribed.recorded(), subscribed.redelivered) == (2, 0)


def test_stopped_consumer_gives_its_messages_back(unsubscribed: PubSubStream) -> None:
    unsubscribed.subscribe(ack_deadline_seconds=600)
    unsubscribed.send(*map(numbered, range(5)))
    with closing(unsubscribed.receiver()) as receiver:
        assert len(receive(receiver)) == 5
    with process() as consumer:
        until(lambda: unsubscribed.recorded() == 5, "all messages")
        consumer.terminate()
        assert consumer.wait(SECONDS) == 0


def test_messages_of_a_killed_consumer_come_soon_whatever_the_ack_deadline_is(
    unsubscribed: PubSubStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pubsub, "_MAX_LEASE_SECONDS", 2)
    unsubscribed.subscribe(ack_deadline_seconds=600)
    unsubscribed.send(*map(numbered, range(5)))
    with closing(unsubscribed.receiver()) as receiver, monkeypatch.context() as patch:
        assert len(receive(receiver)) == 5
        time.sleep(0.5)
        patch.setattr(receiver, "_set_leases", lambda ack_ids, seconds: None)  # nothing more comes from it
        with unsubscribed.consuming():
            unsubscribed.wait_for(5)


def test_lost_database_connections_lose_and_repeat_nothing(subscribed: PubSubStream) -> None:
    sent = 0
    with subscribed.consuming(stream_batch_messages=7):
        for _ in range(6):
            subscribed.send(*(numbered(sent + number) for number in range(50)))
            sent += 50
            time.sleep(0.2)
            subscribed.query(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
        until(lambda: subscribed.recorded() >= sent, "all messages")

    assert (len(subscribed.sessions()), subscribed.recorded()) == (sent, sent)


def test_missing_subscription_is_named_until_it_is_created(
    unsubscribed: PubSubStream, caplog: pytest.LogCaptureFixture
) -> None:
    with unsubscribed.consuming():
        until(lambda: caplog.messages, "a message")
        assert f"there is no subscription {unsubscribed.subscription}; create it" in caplog.messages[0]
        unsubscribed.subscribe()
        unsubscribed.send(numbered(1))
        unsubscribed.wait_for(1)
        unsubscribed.subscriber.delete_subscription(subscription=unsubscribed.subscription)
        caplog.clear()
        until(lambda: caplog.messages, "a message")
        unsubscribed.subscribe()
        unsubscribed.send(numbered(2))
        unsubscribed.wait_for(2)

    assert unsubscribed.recorded() == 2


@contextmanager
def forwarding(port: int, address: str) -> Iterator[None]:
    """Forward connections of a port to a server. At the end they break, and the port refuses connections."""
    host, _, server_port = address.rpartition(":")
    sockets: list[socket.socket] = []

    def forward(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = server_socket.accept()
                server = socket.create_connection((host, int(server_port)))
                sockets.extend((client, server))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=forward, args=pair, daemon=True).start()

    server_socket = socket.create_server(("127.0.0.1", port))
    threading.Thread(target=accept, daemon=True).start()
    try:
        yield
    finally:
        for connected in (server_socket, *sockets):
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)
            connected.close()


def test_unreachable_server_loses_and_repeats_nothing(
    subscribed: PubSubStream, fake_server: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{port}")
    subscribed.send(*map(numbered, range(5)), b"not JSON")
    with subscribed.consuming():
        until(lambda: "Pub/Sub does not answer" in caplog.text, "a message")
        with forwarding(port, fake_server):
            subscribed.wait_for(6)
        for number in range(1, 4):
            caplog.clear()
            until(lambda: "Pub/Sub does not answer" in caplog.text, "a message")
            subscribed.send(numbered(10 * number), b"not JSON")
            with forwarding(port, fake_server):
                subscribed.wait_for(6 + 2 * number)

    assert (subscribed.recorded(), len(subscribed.sessions()), len(subscribed.rejected())) == (12, 8, 4)


def test_server_that_hangs_loses_and_repeats_nothing(
    subscribed: PubSubStream,
    fake_server_process: tuple[subprocess.Popen[str], str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server, _ = fake_server_process
    monkeypatch.setattr(pubsub, "_PULL_SECONDS", 1)
    monkeypatch.setattr(pubsub, "_REQUEST_SECONDS", 1)
    with subscribed.consuming():
        subscribed.send(numbered(1), b"not JSON")
        subscribed.wait_for(2)
        server.send_signal(signal.SIGSTOP)
        try:
            until(lambda: "Pub/Sub does not answer" in caplog.text, "a message")
        finally:
            server.send_signal(signal.SIGCONT)
        subscribed.send(numbered(2), b"not JSON")
        subscribed.wait_for(4)

    assert (subscribed.recorded(), len(subscribed.sessions()), len(subscribed.rejected())) == (4, 2, 2)


def test_login_that_may_only_consume_is_enough(subscribed: PubSubStream, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*values: object, **options: object) -> None:
        raise PermissionDenied("no pubsub.subscriptions.get")

    monkeypatch.setattr(pubsub_v1.SubscriberClient, "get_subscription", refuse)
    with subscribed.consuming():
        subscribed.send(numbered(1))
        subscribed.wait_for(1)
    monkeypatch.setattr(pubsub_v1.SubscriberClient, "pull", refuse)
    with closing(subscribed.receiver()) as receiver, pytest.raises(BrokerUnavailable, match=r"needs roles/pubsub\."):
        receive(receiver)


def test_large_messages_are_received_within_the_limit_of_a_response(subscribed: PubSubStream) -> None:
    size = 3_900_000  # the fake server accepts 4 MB
    for _ in range(9):
        subscribed.send(b" " * size)
    subscribed.send(numbered(1))
    with subscribed.consuming(stream_wait_seconds=0.1):
        subscribed.wait_for(10)

    assert len(subscribed.sessions()) == 1
    reasons = subscribed.query("select distinct reason from ops.rejected_rows where topic is not null")
    assert reasons == [(f"the message has {size:,} bytes, more than 1,000,000",)]
    assert max(sum(len(message.value or b"") for message in batch.new_messages) for batch in subscribed.batches) < 32e6


def test_invalid_messages_are_rejected_with_their_id(subscribed: PubSubStream) -> None:
    values: list[Any] = [
        b"not JSON",
        b"",
        b"\xff\xfe",
        b"\x00",
        row(1, "2099-04-01T00:00:00", [3]),
        {"user_id": "1", "items": [3], "created_at": TIME, "updated_at": TIME},
        b'{"user_id": 1, "items": [3], "created_at": "\\ud800", "updated_at": "\\u0000"}',
        row(2**63, TIME, [3]),
        row(1, TIME, ["x"] * 100_000 + [3]),
    ]
    with subscribed.consuming():
        subscribed.send(*values)
        subscribed.wait_for(len(values))

    assert {message_id for *_, message_id in subscribed.rejected()} == set(subscribed.message_ids)
    assert subscribed.sessions() == [(1, at(TIME), at(TIME), [3])]


def test_missing_credentials_are_wrong_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    settings = Settings(
        _env_file=None, stream_transport="pubsub", stream_pubsub_subscription=f"{PROJECT}/subscriptions/none"
    )
    for function in (pubsub.PubSubSubscription, pubsub.read_subscription_name):
        with pytest.raises(SettingsError, match="GOOGLE_APPLICATION_CREDENTIALS"):
            function(settings)


def test_client_of_pubsub_itself_limits_responses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tested without an emulator, with a file of credentials, before the first request."""
    key = rsa.generate_private_key(65_537, 2048)
    encoding = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    account = {
        "type": "service_account",
        "client_email": "consumer@moovitamix.example",
        "token_uri": "https://127.0.0.1:1/token",
        "private_key": key.private_bytes(*encoding).decode(),
    }
    (tmp_path / "account.json").write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    channels: list[dict[str, Any]] = []
    secure_channel = grpc.secure_channel

    def open_channel(target: str, *values: Any, **options: Any) -> grpc.Channel:
        channels.append({"target": target, **options})
        return secure_channel(target, *values, **options)

    monkeypatch.setattr(grpc, "secure_channel", open_channel)
    pubsub._open_client().close()

    assert [channel["target"] for channel in channels] == ["pubsub.googleapis.com:443"]
    limits = [value for name, value in channels[0]["options"] if name == "grpc.max_receive_message_length"]
    assert limits == [32_000_000]


def test_status_shows_subscription_and_stored_messages(
    subscribed: PubSubStream, capsys: pytest.CaptureFixture[str]
) -> None:
    with subscribed.consuming():
        subscribed.send(row(1, TIME, [3]), b"not JSON")
        subscribed.wait_for(2)

    assert stream_status.main(["--json"]) == 0
    state = json.loads(capsys.readouterr().out)
    assert (state["topic"], state["messages"], state["partitions"]) == (subscribed.subscription, 2, [])
    assert stream_status.main([]) == 0
    assert f"subscription  {subscribed.subscription}, 2 messages stored\n" in capsys.readouterr().out
    assert stream_replay.main(["--from", "2026-11-22"]) == 2
    assert "replay needs Kafka" in capsys.readouterr().err


def test_watchdog_asks_pubsub_for_the_subscription(unsubscribed: PubSubStream) -> None:
    checks = stream_checks(unsubscribed.settings, lambda: unsubscribed.place.database, utc_now)
    assert checks is not None
    with pytest.raises(BrokerUnavailable, match="there is no subscription"):
        checks.topic_id()
    unsubscribed.subscribe()
    assert checks.topic == checks.topic_id() == unsubscribed.subscription
