"""Batched queries: many requests, few queries."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from core.errors import DatabaseError
from serving.query_batching import BatchedQuery, QueryResult


class StubDatabase:
    """Returns the keys after a moment, or raises an error."""

    connections = 3

    def __init__(self, error: Exception | None = None) -> None:
        self.batches: list[list[int]] = []
        self.error = error
        self.running = self.most_at_once = 0

    async def rows(self, name: str, parameters: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
        self.batches.append(list(parameters["ids"]))
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        await asyncio.sleep(0.01)
        self.running -= 1
        if self.error:
            raise self.error
        pairs = zip(parameters["ids"], parameters["counts"], strict=True)
        return [(True, True, f"{key}:{count}") for key, count in pairs]


def query_on(database: StubDatabase) -> BatchedQuery:
    return BatchedQuery(database, "serving/find_recommendations")  # type: ignore[arg-type]


def test_one_request_runs_one_query() -> None:
    database = StubDatabase()
    assert asyncio.run(query_on(database)(5, 10)) == QueryResult(True, True, b"5:10")
    assert database.batches == [[5]]


def test_request_right_after_a_response_is_answered() -> None:
    async def run() -> None:
        query = query_on(StubDatabase())
        async with asyncio.timeout(5):
            for number in range(5):
                assert (await query(number, 1)).response == f"{number}:1".encode()

    asyncio.run(run())


def test_requests_during_a_query_share_the_next_query() -> None:
    database = StubDatabase()

    async def run() -> list[QueryResult]:
        query = query_on(database)
        first = asyncio.create_task(query(0, 1))
        await asyncio.sleep(0.001)
        return [await first, *await asyncio.gather(*(query(number, number) for number in range(1, 11)))]

    results = asyncio.run(run())
    assert [result.response for result in results][1:] == [f"{number}:{number}".encode() for number in range(1, 11)]
    assert len(database.batches) <= 3
    assert sum(map(len, database.batches)) == 11


def test_many_requests_leave_one_connection_free() -> None:
    database = StubDatabase()

    async def run() -> list[QueryResult]:
        query = query_on(database)
        return await asyncio.gather(*(query(number, 1) for number in range(500)))

    assert [result.response for result in asyncio.run(run())] == [f"{number}:1".encode() for number in range(500)]
    assert max(map(len, database.batches)) <= 32
    assert database.most_at_once == database.connections - 1


@pytest.mark.parametrize("error", [DatabaseError("unavailable"), ValueError("a defect")])
def test_error_reaches_every_pending_request(error: Exception) -> None:
    async def run() -> list[Any]:
        query = query_on(StubDatabase(error))
        return await asyncio.gather(*(query(number, 1) for number in range(100)), return_exceptions=True)

    assert {(type(result), str(result)) for result in asyncio.run(run())} == {(type(error), str(error))}


def test_query_with_too_few_rows_fails_every_request_of_its_batch() -> None:
    class ShortDatabase(StubDatabase):
        async def rows(self, name: str, parameters: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
            return (await super().rows(name, parameters))[:-1]

    async def run() -> list[Any]:
        query = query_on(ShortDatabase())
        async with asyncio.timeout(60):
            return await asyncio.gather(*(query(number, 1) for number in range(3)), return_exceptions=True)

    assert {type(result) for result in asyncio.run(run())} == {ValueError}


def test_cancelled_request_does_not_affect_other_requests() -> None:
    async def run() -> QueryResult:
        query = query_on(StubDatabase())
        leaving, staying = asyncio.create_task(query(1, 1)), asyncio.create_task(query(2, 1))
        await asyncio.sleep(0.001)
        leaving.cancel()
        return await staying

    assert asyncio.run(run()).response == b"2:1"
