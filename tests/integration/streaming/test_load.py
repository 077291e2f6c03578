"""Publications, rollbacks, erasures and nightly ingests while sessions arrive."""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from core.clock import utc_now
from core.database import connect
from core.queries import load_query
from core.roles import SERVING, in_role
from core.settings import load_settings
from erasure.steps import begin_erasure, erase_rows
from erasure.subject_matching import UserIdentity
from erasure.suppression_list import read_database
from flows.ingest import main
from pipeline import warehouse
from recommender.publishing import publication
from streaming.local_broker import create_topic
from tests.conftest import BASE_DAY, MockApi
from tests.ingest_runs import open_query
from tests.integration.streaming.conftest import Stream, StreamDatabase, row, until
from tests.integration.streaming.test_fresh_recommendations import train_model
from tests.integration.streaming.test_outages import recorded
from tests.integration.streaming.test_reconciliation import plays_counted
from tests.warehouse_data import WarehouseData, taste_group_of

LOAD_USERS = range(1, 41)
ERASED_USER = 7
BEGIN = datetime(2024, 4, 1)


@dataclass
class Load:
    """Sends sessions without a pause, each of another moment, and reads recommendations as serving does."""

    stream: Stream
    sent: Counter[int] = field(default_factory=Counter)
    # By publication, user and `as_of`; whether it was the user's own or a fresh list, and its tracks.
    responses: dict[tuple[int, int, str], tuple[bool, tuple[int, ...]]] = field(default_factory=dict)
    publications: list[int] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send and read in threads."""
        threads = [threading.Thread(target=self._repeat, args=(step,)) for step in (self._send, self._read)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join()
        assert self.failures == []

    def _repeat(self, step: Callable[[Any], None]) -> None:
        chance = random.Random(7)
        url = in_role(self.stream.place.database, SERVING)
        try:
            with connect(url) as connection:
                while not self._stopped.is_set():
                    step((chance, connection))
        except BaseException as error:
            self.failures.append(error)

    def _send(self, state: tuple[random.Random, Any]) -> None:
        user = state[0].choice(LOAD_USERS)
        moment = BEGIN + timedelta(seconds=self.sent.total())
        self.stream.send(row(user, moment.isoformat(), [2 * state[0].randint(1, 39) + taste_group_of(user)]))
        self.sent[user] += 1
        self._stopped.wait(0.01)

    def _read(self, state: tuple[random.Random, Any]) -> None:
        users = list(LOAD_USERS)
        values = {"ids": users, "counts": [10] * len(users), "options": [None] * len(users), "fresh": True}
        rows = state[1].execute(load_query("serving/find_recommendations"), values).fetchall()
        for user, (_, is_known, text, *_) in zip(users, rows, strict=True):
            if not is_known:
                continue
            response = orjson.loads(text)
            number = response["publication_id"]
            if self.publications[-1:] != [number]:
                self.publications.append(number)
            tracks = tuple(track["track_id"] for track in response["recommendations"])
            self.responses[number, user, response["as_of"]] = (not response["fallback"], tracks)
        self._stopped.wait(0.02)


def test_publications_rollbacks_and_an_erasure_under_load_mix_and_lose_nothing(stream: Stream) -> None:
    """The model of the first publication recommends tracks of a user's own group, that of the second popular ones."""
    first = stream.query("select publication_id from ml.current_publication")[0][0]
    load = Load(stream)
    new_lists = "select count(*) from ml.fresh_recommendations where publication_id = %s and as_of > %s"

    def wait_for_lists(number: int) -> None:
        now = utc_now()
        until(lambda: stream.query(new_lists, number, now) >= [(20,)], f"lists of publication {number}")

    with stream.consuming(), stream.consuming(), connect(stream.place.database) as connection:
        with load.running():
            wait_for_lists(first)
            second = train_model(stream, "popularity")
            wait_for_lists(second)
            erasure_id, _ = begin_erasure(
                connection,
                UserIdentity(ERASED_USER),
                read_database(connection),
                reason="a test",
                requested_by="a test",
                now=utc_now(),
            )
            erase_rows(connection, UserIdentity(ERASED_USER), erasure_id, utc_now())
            for number in (first, second, first):
                publication.roll_back(connection, number, now=utc_now(), why="a test")
                wait_for_lists(number)
        until(lambda: recorded(stream) >= load.sent.total(), "all messages")

    assert recorded(stream) == load.sent.total()
    stored = dict(stream.query("select user_id, count(*) from stream.sessions group by 1"))
    assert stored == {user: count for user, count in load.sent.items() if user != ERASED_USER}
    for table in ("ml.fresh_recommendations", "ml.fresh_recommendation_history", "stream.failed_recommendations"):
        assert stream.query(f"select count(*) from {table} where user_id = %s", ERASED_USER) == [(0,)]
    assert load.publications == [first, second, first, second, first]
    lists = stream.query(
        "select publication_id, user_id, track_ids from ml.fresh_recommendation_history union all"
        " select publication_id, user_id, array_agg(track_id order by rank) from ml.recommendations group by 1, 2"
    )
    shown = [
        (number, user, tracks)
        for (number, user, _), (is_own, tracks) in load.responses.items()
        if is_own and user != ERASED_USER
    ]
    assert set(shown) <= {(number, user, tuple(tracks)) for number, user, tracks in lists}
    for number, user, tracks in shown:
        if number == first:
            assert {taste_group_of(track) for track in tracks[:5]} == {taste_group_of(user)}
        else:
            assert {taste_group_of(track) for track in tracks} != {taste_group_of(user)}


def test_nightly_ingest_counts_each_streamed_session_once_whenever_it_arrives(
    broker: int, quick: None, api: MockApi, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the snapshot is read; after that, if the snapshot has it or not; and after the snapshot is published."""
    topic = f"listens-{uuid4().hex[:8]}"
    create_topic(broker, topic, partitions=2)
    for name, value in {"BOOTSTRAP_SERVERS": f"127.0.0.1:{broker}", "TOPIC": topic, "GROUP": topic}.items():
        monkeypatch.setenv(f"STREAM_{name}", value)
    monkeypatch.setenv("STREAM_SESSION_TIMEOUT_SECONDS", "1")
    fields = ("user_id", "items", "created_at", "updated_at")
    days = (BASE_DAY, "2026-11-21", "2026-11-22")
    snapshots = []
    for day in days:
        api.set_day(day)
        rows = [{name: value[name] for name in fields} for value in api.rows("listen_history")]
        snapshots.append({(value["user_id"], value["created_at"]): value for value in rows})
    second_day, third_day = (
        [later[key] for key in sorted(later.keys() - earlier.keys()) if later[key]["items"]]
        for earlier, later in itertools.pairwise(snapshots)
    )
    before, while_read, after = second_day[:3]
    not_in_it = third_day[0]
    unconfirmed = "select user_id from stream.sessions where confirmed_by is null"
    publish_batch = warehouse.publish_batch

    def send_before_publication(connection: Any, batch: Any, *values: Any, **options: Any) -> Any:
        if batch.endpoint == "listen_history" and len(stream.batches) and stream.sent == 1:
            stream.send(while_read, not_in_it)
            stream.wait_for(3)
        return publish_batch(connection, batch, *values, **options)

    monkeypatch.setattr(warehouse, "publish_batch", send_before_publication)
    with open_query(database) as query:
        place = StreamDatabase(database, WarehouseData(), tmp_path, query)
        stream = Stream(broker, topic, place, load_settings())
        api.set_day(days[0])
        assert main(["--day", days[0]]) == 0
        with stream.consuming():
            stream.send(before)
            stream.wait_for(1)
            api.set_day(days[1])
            assert main(["--day", days[1]]) == 0
            stream.send(after)
            stream.wait_for(4)

            assert query(unconfirmed) == [(not_in_it["user_id"],)]
            api.set_day(days[2])
            assert main(["--day", days[2]]) == 0

        assert query(unconfirmed) == []
        assert query("select sum(confirmed), sum(differing), sum(dropped) from stream.reconciliations") == [(3, 0, 0)]
        for session in (before, while_read, after, not_in_it):
            for track in set(session["items"]):
                values = (session["user_id"], track)
                counted = query("select plays from mart.user_track_plays where user_id = %s and track_id = %s", *values)
                assert plays_counted(stream, *values) == sum(plays for (plays,) in counted)
