"""Publishing, rollback and retention while the API serves: no error, and no mixed response."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
import psycopg
import pytest

from core.database import connect
from core.settings import Settings
from serving import database as serving_database
from serving.database import Database
from tests.integration.serving.api import USERS, Api, drop, go_live, serving, stage

_SECONDS = 4.0


@dataclass
class LoadGenerator:
    """Reads in threads until stopped, and records wrong responses."""

    api: Api
    tracks_by_publication: dict[int, range]
    stop: threading.Event = field(default_factory=threading.Event)
    responses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    rounds: Counter[int] = field(default_factory=Counter)

    def read(self) -> None:
        with httpx.Client(base_url=self.api.url, headers=self.api.client.headers, timeout=60) as client:
            while not self.stop.is_set():
                for user in (1, 7, 404_000, 20):
                    self._check(client.get(f"/v1/users/{user}/recommendations?n=20"), user)
                self.rounds[threading.get_ident()] += 1

    def wait_for_running_requests(self, threads: int) -> None:
        """Wait until each thread has ended the round that it is in."""
        before = self.rounds.copy()
        while len(self.rounds) < threads or any(self.rounds[thread] == count for thread, count in before.items()):
            time.sleep(0.005)

    def has_answers_of(self, *publications: int) -> bool:
        """Whether each of these publications has answered more than ten times, and three publications have answered."""
        return len(self.responses) > 2 and all(self.responses[publication] > 10 for publication in publications)

    def _check(self, response: httpx.Response, user: int) -> None:
        if user not in USERS:
            if response.status_code != 404:
                self.wrong.append(response.text)
            return
        if response.status_code != 200:
            self.wrong.append(response.text)
            return
        content = response.json()
        listed = [track["track_id"] for track in content["recommendations"]]
        ranks = [track["rank"] for track in content["recommendations"]]
        if listed != list(self.tracks_by_publication[content["publication_id"]]) or ranks != list(
            range(1, len(ranks) + 1)
        ):
            self.wrong.append(f"{content['publication_id']}: {listed}")
        self.responses[content["publication_id"]] += 1


def test_each_response_is_from_exactly_one_publication(populated: str) -> None:
    odd, even = range(1, 11), range(41, 51)
    with serving(populated, serving_requests_per_minute=1_000_000) as api, connect(populated) as connection:
        first = stage(connection, dict.fromkeys(USERS, odd))
        second = stage(connection, dict.fromkeys(USERS, even))
        go_live(connection, first)
        load = LoadGenerator(api, {first: odd, second: even})
        threads = [threading.Thread(target=load.read) for _ in range(4)]
        for thread in threads:
            thread.start()
        until, extra = time.monotonic() + _SECONDS, []
        while time.monotonic() < until or not load.has_answers_of(first):
            go_live(connection, second)
            extra.append(stage(connection, dict.fromkeys(USERS, even)))  # attaches partitions
            load.tracks_by_publication[extra[-1]] = even
            # A query that was planned before the partition existed must not see it live; an audit takes longer.
            load.wait_for_running_requests(len(threads))
            go_live(connection, extra[-1])
            if not load.has_answers_of(first):
                load.wait_for_running_requests(len(threads))
            go_live(connection, first)
            load.wait_for_running_requests(len(threads))
            if len(extra) > 2:
                drop(connection, extra.pop(0))
        load.stop.set()
        for thread in threads:
            thread.join()
    assert load.wrong == []


def test_next_request_sees_a_rollback(populated: str) -> None:
    with serving(populated) as api, connect(populated) as connection:
        first, second = (stage(connection, {1: [track]}) for track in (1, 2))
        for publication in (first, second, first, second):
            go_live(connection, publication)
            assert api.read(1).json()["publication_id"] == publication


async def _rows_while_dropped(url: str, monkeypatch: pytest.MonkeyPatch, failures: list[psycopg.Error]) -> int:
    database = Database(url, 2)
    await database.open()
    original = psycopg.AsyncConnection.execute

    async def failing(self: psycopg.AsyncConnection[object], *args: object, **options: object) -> object:
        if failures:
            raise failures.pop()
        return await original(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(psycopg.AsyncConnection, "execute", failing)
    try:
        return len(
            await database.rows(
                "serving/find_recommendations",
                {"ids": [1, 2], "counts": [1, 1], "options": [None, None], "fresh": True},
            )
        )
    finally:
        await database.close()


def test_dropped_partition_is_retried(populated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    undefined_table = psycopg.errors.UndefinedTable("could not open relation with OID 1")
    assert asyncio.run(_rows_while_dropped(populated, monkeypatch, [undefined_table])) == 2
    with pytest.raises(serving_database.DatabaseError, match="UndefinedTable"):
        asyncio.run(_rows_while_dropped(populated, monkeypatch, [undefined_table, undefined_table]))


def test_serving_database_url_is_used_when_set() -> None:
    settings = Settings.model_validate(
        {"serving_database_url": "postgresql://reader@h/d", "database_url": "postgresql://h/d"}
    )
    assert serving_database.ensure_serving_database(settings) == "postgresql://reader@h/d"
    assert serving_database.ensure_serving_database(
        settings.model_copy(update={"serving_database_url": settings.database_url})
    ) == ("postgresql://h/d")
