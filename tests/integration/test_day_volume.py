"""Half a day of missing sessions: the size of the snapshot hardly changes, but the batch is blocked."""

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


def usual_count(_: date) -> int:
    return USUAL


def sessions_on(day: date, count: int) -> list[Row]:
    """`count` sessions of a day, from midnight on."""
    begin = datetime(day.year, day.month, day.day)
    times = [(begin + timedelta(minutes=14 * number)).isoformat() for number in range(count)]
    return [session(1 + number % USERS, [1, 2], created_at=time, updated_at=time) for number, time in enumerate(times)]


def sessions_before(day: date, count: Callable[[date], int] = usual_count) -> list[Row]:
    """The sessions of the days before `day`."""
    days = [FIRST + timedelta(number) for number in range((day - FIRST).days)]
    return [row for day in days for row in sessions_on(day, count(day))]


@pytest.fixture
def daily(query: Query) -> None:
    """Earlier batches in the ledger, so that the expectation applies."""
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
    """Three weeks with 100 sessions a day."""
    rows = SourceStub([track(1), track(2)], [user(number) for number in range(1, USERS + 1)], sessions_before(DAY))
    with serve_source(rows) as stub:
        for name, value in {"MOOVITAMIX_API_URL": stub.url, "PAGE_SIZE": "100"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(ingest_tasks.land_pages, "retries", 0)
        yield stub


def run(day: date, *arguments: str) -> int:
    """Run a complete ingest. Returns the exit code."""
    return ingest.main(["--day", str(day), *arguments])


def run_sessions(day: date) -> int:
    """Run an ingest of the sessions only. Returns the exit code."""
    return run(day, "--endpoint", "listen_history")


def volume(query: Query, batch: str) -> tuple[int | None, int | None, float | None]:
    """Sessions of the last complete day, sessions of the quietest day before it, and the ratio."""
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


def session_count(query: Query) -> int:
    return int(query("select count(*) from warehouse.listen_history where removed_at is null")[0][0])


def test_day_of_usual_volume_passes(daily: None, source: SourceStub, query: Query) -> None:
    assert run(DAY) == 0  # the first load
    assert volume(query, f"listen_history-{DAY}") == (USUAL, USUAL, 1.0)
    source.listen_history += sessions_on(DAY, 70)  # exactly the limit

    assert run_sessions(DAY + timedelta(1)) == 0

    assert volume(query, f"listen_history-{DAY + timedelta(1)}") == (70, USUAL, 0.7)
    assert volume(query, f"users-{DAY}") == volume(query, f"tracks-{DAY}") == (None, None, None)


def test_half_a_day_is_blocked_until_it_is_complete(daily: None, source: SourceStub, query: Query) -> None:
    assert run(DAY) == 0
    published = warehouse_and_marts(database_state(query))
    source.listen_history += sessions_on(DAY, USUAL // 2)

    assert run_sessions(DAY + timedelta(1)) == 1

    assert reason(query, DAY + timedelta(1)) == OUTAGE
    assert warehouse_and_marts(database_state(query)) == published
    source.listen_history = sessions_before(DAY + timedelta(2))

    assert run_sessions(DAY + timedelta(2)) == 0

    assert session_count(query) == len(source.listen_history)
    assert_rows_add_up(query)


def test_blocked_first_load_can_be_replayed_with_another_threshold(
    daily: None, source: SourceStub, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.listen_history = sessions_before(DAY - timedelta(1)) + sessions_on(DAY - timedelta(1), USUAL // 2)
    batch = f"listen_history-{DAY}"
    assert run(DAY) == 1
    assert reason(query, DAY) == OUTAGE
    assert session_count(query) == 0
    assert replay.main([batch]) == 1
    assert reason(query, DAY) == OUTAGE
    monkeypatch.setenv("THRESHOLD_MIN_DAY_VOLUME", "0.5")

    assert replay.main([batch]) == 0

    assert session_count(query) == len(source.listen_history)


def test_volume_check_works_after_days_without_ingest(daily: None, source: SourceStub, query: Query) -> None:
    assert run(DAY) == 0
    complete = sessions_before(DAY + timedelta(4))
    source.listen_history = sessions_before(DAY + timedelta(3)) + sessions_on(DAY + timedelta(3), USUAL // 2)
    assert run_sessions(DAY + timedelta(4)) == 1
    assert reason(query, DAY + timedelta(4)) == OUTAGE
    source.listen_history = complete
    assert run_sessions(DAY + timedelta(4)) == 0
    assert volume(query, f"listen_history-{DAY + timedelta(4)}-r2") == (USUAL, USUAL, 1.0)


def test_past_day_is_compared_with_the_days_before_it(daily: None, source: SourceStub, query: Query) -> None:
    half = DAY - timedelta(3)
    source.listen_history = sessions_before(DAY, lambda day: 60 if day == half else USUAL)
    assert run(DAY) == 0
    assert volume(query, f"listen_history-{DAY}") == (USUAL, 60, 100 / 60)

    assert run_sessions(half + timedelta(1)) == 1

    assert reason(query, half + timedelta(1)).endswith("days before it: 60 % is below 70 %")
    assert run_sessions(half) == 0
    assert volume(query, f"listen_history-{half}") == (USUAL, USUAL, 1.0)


def test_quieter_weekends_pass(daily: None, source: SourceStub, query: Query) -> None:
    def week(day: date) -> int:
        return 60 if day.weekday() >= 5 else USUAL

    for day, last in ((DAY + timedelta(2), 60), (DAY + timedelta(4), USUAL)):  # Sunday and Tuesday
        source.listen_history = sessions_before(day, week)
        assert run(day) == 0
        assert volume(query, f"listen_history-{day}") == (last, 60, last / 60)


def test_volume_is_not_checked_with_few_sessions_per_day(daily: None, source: SourceStub, query: Query) -> None:
    source.listen_history = sessions_before(DAY, lambda day: 20 if day == DAY - timedelta(1) else 49)
    assert run(DAY) == 0
    assert volume(query, f"listen_history-{DAY}") == (20, 49, None)


def test_volume_counts_sessions_as_they_will_be_published(daily: None, source: SourceStub, query: Query) -> None:
    def without(rows: list[Row], day: date, user_id: int) -> list[Row]:
        removed = (user_id, str(day))
        return [row for row in rows if (row["user_id"], row["created_at"][:10]) != removed]

    earlier_day, all_rows = DAY - timedelta(5), source.listen_history + sessions_on(DAY, USUAL)
    assert run(DAY) == 0
    source.listen_history = without(all_rows, earlier_day, 1)  # removes ten sessions
    assert run_sessions(DAY + timedelta(1)) == 0
    assert volume(query, f"listen_history-{DAY + timedelta(1)}") == (USUAL, 90, 100 / 90)
    # The sessions are back. Sessions of a user with an unreadable row do not count as removed.
    source.listen_history = without(all_rows, earlier_day, 2) + sessions_on(DAY + timedelta(1), USUAL)
    source.listen_history.append(session(2, [1], created_at="yesterday"))
    assert run_sessions(DAY + timedelta(2)) == 0
    assert volume(query, f"listen_history-{DAY + timedelta(2)}") == (USUAL, USUAL, 1.0)


def test_volume_is_not_checked_in_a_first_load(source: SourceStub, query: Query) -> None:
    source.listen_history = sessions_before(DAY - timedelta(1)) + sessions_on(DAY - timedelta(1), USUAL // 2)
    assert run(DAY) == 0
    assert volume(query, f"listen_history-{DAY}") == (USUAL // 2, USUAL, None)
