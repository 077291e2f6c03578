"""Many questions, few statements."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from core.errors import DatabaseError
from serving.query_batching import BatchedQuery, QueryResult


class Answering:
    """A database that answers with the key, after a moment; or not."""

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
        return [(True, True, f"{of}:{count}") for of, count in pairs]


def lookup(database: Answering) -> BatchedQuery:
    return BatchedQuery(database, "serving/find_recommendations")  # type: ignore[arg-type]


def test_one_request_runs_one_query() -> None:
    database = Answering()
    assert asyncio.run(lookup(database)(5, 10)) == QueryResult(True, True, b"5:10")
    assert database.batches == [[5]]


def test_request_right_after_a_response_is_answered() -> None:
    async def run() -> None:
        look = lookup(Answering())
        async with asyncio.timeout(5):
            for number in range(5):
                assert (await look(number, 1)).response == f"{number}:1".encode()

    asyncio.run(run())


def test_requests_during_a_query_share_the_next_query() -> None:
    database = Answering()

    async def run() -> list[QueryResult]:
        look = lookup(database)
        first = asyncio.create_task(look(0, 1))
        await asyncio.sleep(0.001)
        return [await first, *await asyncio.gather(*(look(number, number) for number in range(1, 11)))]

    found = asyncio.run(run())
    assert [one.response for one in found][1:] == [f"{number}:{number}".encode() for number in range(1, 11)]
    assert len(database.batches) <= 3
    assert sum(map(len, database.batches)) == 11


def test_many_requests_leave_one_connection_free() -> None:
    database = Answering()

    async def run() -> list[QueryResult]:
        look = lookup(database)
        return await asyncio.gather(*(look(number, 1) for number in range(500)))

    assert [one.response for one in asyncio.run(run())] == [f"{number}:1".encode() for number in range(500)]
    assert max(map(len, database.batches)) <= 32
    assert database.most_at_once == database.connections - 1


@pytest.mark.parametrize("error", [DatabaseError("away"), ValueError("a defect")])
def test_error_reaches_every_pending_request(error: Exception) -> None:
    async def run() -> list[Any]:
        look = lookup(Answering(error))
        return await asyncio.gather(*(look(number, 1) for number in range(100)), return_exceptions=True)

    assert {(type(one), str(one)) for one in asyncio.run(run())} == {(type(error), str(error))}


def test_cancelled_request_does_not_affect_others() -> None:
    async def run() -> QueryResult:
        look = lookup(Answering())
        leaving, staying = asyncio.create_task(look(1, 1)), asyncio.create_task(look(2, 1))
        await asyncio.sleep(0.001)
        leaving.cancel()
        return await staying

    assert asyncio.run(run()).response == b"2:1"
