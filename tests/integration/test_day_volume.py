"""Half a day of listens that is missing: too little to be seen in the whole list, and blocked all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from flows import ingest, ingest_tasks, replay
from tests.conftest import Query
from tests.database_state import assert_rows_add_up, database_state
from tests.ingest_runs import warehouse_and_marts
from tests.source_stub import Row, SourceStub, serve_source, session, track, user

DAY = date(2026, 11, 20)  # a Friday
FIRST = DAY - timedelta(21)
USERS = 10
USUAL = 100
OUTAGE = "sessions of the last whole day, compared with the quietest of the 14 days before it: 50 % is below 70 %"


def usual(_: date) -> int:
    return USUAL


def on(day: date, count: int) -> list[Row]:
    """So many sessions of a day, from its first minute on."""
    begin = datetime(day.year, day.month, day.day)
    times = [(begin + timedelta(minutes=14 * number)).isoformat() for number in range(count)]
    return [session(1 + number % USERS, [1, 2], created_at=time, updated_at=time) for number, time in enumerate(times)]


def until(day: date, count: Callable[[date], int] = usual) -> list[Row]:
    """The sessions of the days before `day`."""
    days = [FIRST + timedelta(number) for number in range((day - FIRST).days)]
    return [row for one in days for row in on(one, count(one))]


@pytest.fixture
def daily(query: Query) -> None:
    """A week of lists came in before, as small as they may have been."""
    for number in range(14, 3, -1):
        day = DAY - timedelta(number)
        query(
            "insert into ops.batches (batch_id, endpoint, day, revision, source, status, started_at)"
            " values (%s, 'listen_history', %s, 1, 'http://source', 'published', '2026-10-01')"
            " returning batch_id",
            f"listen_history-{day}",
            day,
        )


@pytest.fixture
def source(prefect_server: None, environment: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SourceStub]:
    """Three weeks of listening, 100 sessions a day."""
    lists = SourceStub([track(1), track(2)], [user(number) for number in range(1, USERS + 1)], until(DAY))
    with serve_source(lists) as served:
        for name, value in {"MOOVITAMIX_API_URL": served.url, "PAGE_SIZE": "100"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(ingest_tasks.land_pages, "retries", 0)
        yield served


def run(day: date, *arguments: str) -> int:
    """The exit code of a whole ingest."""
    return ingest.main(["--day", str(day), *arguments])


def listens(day: date) -> int:
    """The exit code of an ingest of the listens alone; their users and tracks are published already."""
    return run(day, "--endpoint", "listen_history")


def volume(query: Query, batch: str) -> tuple[int | None, int | None, float | None]:
    """Sessions of the last whole day and of the quietest before it, and their share."""
    table = f"staging.{batch.replace('-', '_')}_profile"
    ((last, quietest, share),) = query(
        f"select last_day_sessions, quietest_day_sessions, share_of_quietest_day from {table}"
    )
    return last, quietest, share


def reason(query: Query, day: date) -> str:
    ((status, reason),) = query(
        "select status, reason from ops.batches where endpoint = 'listen_history' and day = %s", day
    )
    assert status == "blocked"
    return str(reason)


def sessions(query: Query) -> int:
    return int(query("select count(*) from warehouse.listen_history where removed_at is null")[0][0])


def test_a_usual_day_passes(daily: None, source: SourceStub, query: Query) -> None:
    assert run(DAY) == 0  # a first load: everything is staged, nothing is published
    assert volume(query, f"listen_history-{DAY}") == (USUAL, USUAL, 1.0)
    source.listen_history += on(DAY, 70)  # the limit itself

    assert listens(DAY + timedelta(1)) == 0

    assert volume(query, f"listen_history-{DAY + timedelta(1)}") == (70, USUAL, 0.7)
    assert volume(query, f"users-{DAY}") == volume(query, f"tracks-{DAY}") == (None, None, None)


def test_half_a_day_is_blocked_and_comes_in_when_it_is_whole(daily: None, source: SourceStub, query: Query) -> None:
    assert run(DAY) == 0
    before = warehouse_and_marts(database_state(query))
    source.listen_history += on(DAY, USUAL // 2)

    assert listens(DAY + timedelta(1)) == 1

    assert reason(query, DAY + timedelta(1)) == OUTAGE
    assert warehouse_and_marts(database_state(query)) == before
    source.listen_history = until(DAY + timedelta(2))

    assert listens(DAY + timedelta(2)) == 0

    assert sessions(query) == len(source.listen_history)
    assert_rows_add_up(query)


def test_half_a_day_is_blocked_in_a_first_load_and_replayed_at_will(
    daily: None, source: SourceStub, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.listen_history = until(DAY - timedelta(1)) + on(DAY - timedelta(1), USUAL // 2)
    batch = f"listen_history-{DAY}"
    assert run(DAY) == 1
    assert reason(query, DAY) == OUTAGE
    assert sessions(query) == 0
    assert replay.main([batch]) == 1
    assert reason(query, DAY) == OUTAGE
    monkeypatch.setenv("THRESHOLD_MIN_DAY_VOLUME", "0.5")

    assert replay.main([batch]) == 0

    assert sessions(query) == len(source.listen_history)


def test_days_without_an_ingest_count_as_they_arrive(daily: None, source: SourceStub, query: Query) -> None:
    assert run(DAY) == 0
    whole = until(DAY + timedelta(4))
    source.listen_history = until(DAY + timedelta(3)) + on(DAY + timedelta(3), USUAL // 2)
    assert listens(DAY + timedelta(4)) == 1
    assert reason(query, DAY + timedelta(4)) == OUTAGE
    source.listen_history = whole
    assert listens(DAY + timedelta(4)) == 0
    assert volume(query, f"listen_history-{DAY + timedelta(4)}-r2") == (USUAL, USUAL, 1.0)


def test_a_day_in_the_past_is_judged_by_the_days_before_it(daily: None, source: SourceStub, query: Query) -> None:
    half = DAY - timedelta(3)
    source.listen_history = until(DAY, lambda day: 60 if day == half else USUAL)
    assert run(DAY) == 0
    assert volume(query, f"listen_history-{DAY}") == (USUAL, 60, 100 / 60)

    assert listens(half + timedelta(1)) == 1

    assert reason(query, half + timedelta(1)).endswith("days before it: 60 % is below 70 %")
    assert listens(half) == 0
    assert volume(query, f"listen_history-{half}") == (USUAL, USUAL, 1.0)


def test_weekends_pass(daily: None, source: SourceStub, query: Query) -> None:
    def week(day: date) -> int:
        return 60 if day.weekday() >= 5 else USUAL

    for day, last in ((DAY + timedelta(2), 60), (DAY + timedelta(4), USUAL)):  # Sunday and Tuesday
        source.listen_history = until(day, week)
        assert run(day) == 0
        assert volume(query, f"listen_history-{day}") == (last, 60, last / 60)


def test_a_source_with_few_sessions_a_day_is_not_judged(daily: None, source: SourceStub, query: Query) -> None:
    source.listen_history = until(DAY, lambda day: 20 if day == DAY - timedelta(1) else 49)
    assert run(DAY) == 0
    assert volume(query, f"listen_history-{DAY}") == (20, 49, None)


def test_sessions_count_as_they_stand_after_publishing(daily: None, source: SourceStub, query: Query) -> None:
    def without(listed: list[Row], day: date, user_id: int) -> list[Row]:
        gone = (user_id, str(day))
        return [row for row in listed if (row["user_id"], row["created_at"][:10]) != gone]

    some_day, everything = DAY - timedelta(5), source.listen_history + on(DAY, USUAL)
    assert run(DAY) == 0
    source.listen_history = without(everything, some_day, 1)  # ten sessions are gone,
    assert listens(DAY + timedelta(1)) == 0
    assert volume(query, f"listen_history-{DAY + timedelta(1)}") == (USUAL, 90, 100 / 90)
    # and back; and those of a user with a row that cannot be read are not taken for gone.
    source.listen_history = without(everything, some_day, 2) + on(DAY + timedelta(1), USUAL)
    source.listen_history.append(session(2, [1], created_at="yesterday"))
    assert listens(DAY + timedelta(2)) == 0
    assert volume(query, f"listen_history-{DAY + timedelta(2)}") == (USUAL, USUAL, 1.0)


def test_a_first_load_is_not_judged(source: SourceStub, query: Query) -> None:
    source.listen_history = until(DAY - timedelta(1)) + on(DAY - timedelta(1), USUAL // 2)
    assert run(DAY) == 0
    assert volume(query, f"listen_history-{DAY}") == (USUAL // 2, USUAL, None)
