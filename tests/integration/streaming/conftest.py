"""A real broker, a topic for each test, and databases with a live publication."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Producer
from psycopg import sql

from compute.blocks import IN_PROCESS
from core.clock import Clock, utc_now
from core.database import Connection, connect
from core.roles import STREAM, in_role
from core.sessions import open_connection
from core.settings import Settings, load_settings
from core.stores import model_store
from recommender.models import file_format
from recommender.models.base import Recommender
from recommender.models.ease import EASE
from recommender.models.recipe import Recipe
from recommender.publishing import model_runs, publication, scoring
from recommender.publishing.model_runs import TrainingOutcome
from recommender.publishing.scoring import MartData, ScoringModel
from streaming.consumer import Consumer
from streaming.local_broker import create_topic, start_broker
from streaming.store import StoredBatch
from tests.conftest import Query, temporary_database, url_of_database
from tests.ingest_runs import open_query
from tests.integration.serving.api import free_port
from tests.publications import quick_settings
from tests.warehouse_data import WarehouseData, fill_warehouse, two_taste_groups

# A longer wait counts as a hang, even on a busy machine.
SECONDS = 90.0


@pytest.fixture(scope="session")
def broker() -> Iterator[int]:
    """The port of a broker that all tests of a process share."""
    port = free_port()
    process = start_broker(port)
    yield port
    process.kill()
    process.wait()


def until(condition: Callable[[], Any], expected: str = "") -> Any:
    """Wait until the condition holds, and return its value."""
    deadline = time.monotonic() + SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not in time: {expected}"
        time.sleep(0.01)
    return value


def row(user_id: int, created_at: str, items: Sequence[Any], updated_at: str = "") -> dict[str, Any]:
    """A session as /listen_history has it."""
    return {"user_id": user_id, "created_at": created_at, "updated_at": updated_at or created_at, "items": list(items)}


@dataclass
class Stream:
    """A topic, and the database that its sessions go to."""

    port: int
    topic: str
    place: StreamDatabase
    settings: Settings
    batches: list[StoredBatch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.producer = Producer({"bootstrap.servers": f"127.0.0.1:{self.port}", "linger.ms": 0})
        self.sent = 0

    def send(self, *values: Any, partition: int = -1) -> None:
        """Send messages, and wait until the broker has them. Values that are not bytes are sent as JSON."""
        for value in values:
            key = str(value["user_id"]) if isinstance(value, dict) and "user_id" in value else None
            body = value if isinstance(value, bytes | None) else json.dumps(value).encode()
            self.producer.produce(self.topic, body, key, partition)
            self.sent += 1
        assert self.producer.flush(SECONDS) == 0

    @property
    def query(self) -> Query:
        return self.place.query

    def sessions(self) -> list[tuple[Any, ...]]:
        """Every stored session: user_id, created_at, updated_at, items."""
        return self.query("select user_id, created_at, updated_at, items from stream.sessions order by 1, 2")

    def consumer(self, clock: Clock = utc_now, **settings: Any) -> Consumer:
        """A consumer that is not started."""
        url = in_role(self.place.database, STREAM)
        return Consumer(self.settings.model_copy(update=settings), url, clock, after_batch=self.batches.append)

    @contextmanager
    def consuming(self, clock: Clock = utc_now, **settings: Any) -> Iterator[Consumer]:
        """A consumer at work in a thread."""
        consumer = self.consumer(clock, **settings)
        thread = threading.Thread(target=consumer.run)
        thread.start()
        try:
            yield consumer
        finally:
            consumer.stop()
            thread.join(SECONDS)
            assert not thread.is_alive()

    def wait_for(self, messages: int) -> None:
        """Wait until so many messages were consumed."""
        until(lambda: sum(batch.messages for batch in self.batches) >= messages, f"{messages} messages")


@dataclass(frozen=True)
class StreamDatabase:
    """A database with data, and its data folder."""

    database: str
    world: WarehouseData
    data_dir: Path
    query: Query

    @property
    def settings(self) -> Settings:
        """The settings of the environment."""
        return load_settings()


@pytest.fixture(scope="session")
def taste_groups(postgres: str, _template: str) -> str:
    """The name of a database in which two taste groups listened, without a publication."""
    with open_connection(postgres) as connection:
        name = "streamed_camps"
        connection.execute(
            sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(_template))
        )
        fill_warehouse(url_of_database(postgres, name), two_taste_groups())
    return name


@pytest.fixture
def place(
    postgres: str, taste_groups: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StreamDatabase]:
    """A copy of the two taste groups."""
    for name in [name for name in os.environ if name.startswith(("THRESHOLD_", "RETRAIN_", "MOOVITAMIX_", "STREAM_"))]:
        monkeypatch.delenv(name)
    with temporary_database(postgres, taste_groups) as database, open_query(database) as query:
        for name, value in quick_settings(database, tmp_path / "data").items():
            monkeypatch.setenv(name, value)
        yield StreamDatabase(database, two_taste_groups(), tmp_path / "data", query)


def train(place: StreamDatabase, model: Recommender, recipe: Recipe) -> int:
    """Fit a model on all plays, save it, and publish its recommendations. Returns the publication."""
    with connect(place.database) as connection:
        data = scoring.read_mart_data(connection, utc_now())
        number = _start_model_run(connection, recipe, data)
        file = None
        if recipe.is_personalised:
            model.fit(data.log.interactions(data.end, recipe.weighting))
            path = place.data_dir / "models" / f"{number}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            model.save(path)
            file = (path.name, file_format.digest(path))
        outcome = TrainingOutcome(recipe, "published", "a test", {}, *(file or (None, None)))
        return _publish(connection, place, ScoringModel(number, recipe, model, outcome), data)


def refresh(place: StreamDatabase) -> int:
    """Publish recommendations of the live model for the plays of now, as a run of recommend does."""
    with connect(place.database) as connection:
        champion = model_runs.find_champion(connection)
        assert champion is not None
        model = scoring.load_champion_model(champion, model_store(place.settings))
        data = scoring.read_mart_data(connection, utc_now())
        return _publish(connection, place, ScoringModel(champion.model_run_id, champion.recipe, model), data)


def _start_model_run(connection: Connection, recipe: Recipe, data: MartData) -> int:
    return model_runs.start_model_run(
        connection,
        recipe=recipe,
        seed=0,
        data_as_of=data.data_as_of,
        batches=data.batches,
        code_version="v-test",
        now=utc_now(),
    )


def _publish(connection: Connection, place: StreamDatabase, model: ScoringModel, data: MartData) -> int:
    settings = place.settings
    replacing = publication.newest_live_id(connection)
    staged = scoring.score_and_stage(
        connection, model, data, settings=settings, flow="test", clock=utc_now, runner=IN_PROCESS
    )
    scoring.publish_staged(
        connection, model, staged, data, settings=settings, clock=utc_now, replacing=replacing, why="a test"
    )
    return staged.publication_id


@pytest.fixture
def unpublished_stream(broker: int, place: StreamDatabase, monkeypatch: pytest.MonkeyPatch) -> Stream:
    """A stream on two taste groups, before the first publication."""
    topic = f"listens-{uuid4().hex[:8]}"
    create_topic(broker, topic, partitions=2)
    monkeypatch.setenv("STREAM_BOOTSTRAP_SERVERS", f"127.0.0.1:{broker}")
    monkeypatch.setenv("STREAM_TOPIC", topic)
    monkeypatch.setenv("STREAM_GROUP", topic)
    monkeypatch.setenv("STREAM_SESSION_TIMEOUT_SECONDS", "1")
    return Stream(broker, topic, place, load_settings())


@pytest.fixture
def stream(unpublished_stream: Stream) -> Stream:
    """A stream on two taste groups with recommendations of EASE."""
    train(unpublished_stream.place, EASE(), Recipe(EASE.name))
    return unpublished_stream


def at(text: str) -> datetime:
    """A time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
