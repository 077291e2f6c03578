"""A clock that was wrong: our own, for one run, or that of a device that plays. Afterwards everything goes on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.clock import CLOCK_SKEW
from core.database import connect
from flows import ingest, ingest_tasks, maintain, monitor, recommend, replay, retrain, rollback
from recommender.monitoring import quality_monitor
from recommender.publishing import publication
from tests.conftest import Query
from tests.publications import live_publication, quick_candidates, quick_settings
from tests.source_stub import Row, SourceStub, serve_source, session, track, user

NIGHT = datetime(2026, 11, 22, 3, tzinfo=UTC)
AHEAD = datetime(2027, 6, 1, 3, tzinfo=UTC)
DAY = timedelta(days=1)
SetClock = Callable[[datetime], None]


def play(listener: int, tracks: list[int], at: datetime) -> Row:
    text = at.replace(tzinfo=None).isoformat(timespec="microseconds")
    return session(listener, tracks, created_at=text, updated_at=text)


def plays_until(end: datetime) -> list[Row]:
    """Sixty sessions of twelve listeners, one every twelve hours, the last just before `end`."""
    draw = random.Random(1)
    begin = end - timedelta(hours=12 * 60, microseconds=-1)
    moments = [begin + timedelta(hours=12 * number) for number in range(60)]
    return [play(draw.randint(1, 12), draw.sample(range(1, 31), 5), at) for at in moments]


@pytest.fixture
def set_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SetClock:
    file = tmp_path / "clock"
    monkeypatch.setenv("CLOCK_FILE", str(file))

    def at(moment: datetime) -> None:
        file.write_text(moment.isoformat())

    at(NIGHT)
    return at


@pytest.fixture
def source(
    prefect_server: None, environment: Path, database: str, set_clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SourceStub]:
    """Thirty tracks and twelve listeners, whose last plays are of the evening before NIGHT."""
    lists = SourceStub(
        [track(number) for number in range(1, 31)],
        [user(number) for number in range(1, 13)],
        plays_until(NIGHT - timedelta(hours=4)),
    )
    for name, value in quick_settings(database, environment).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(ingest_tasks.land_pages, "retries", 0)
    with serve_source(lists) as served, quick_candidates():
        monkeypatch.setenv("MOOVITAMIX_API_URL", served.url)
        yield served


def status(query: Query, batch_id: str) -> str:
    return str(query("select status from ops.batches where batch_id = %s", batch_id)[0][0])


def is_outdated(database: str, now: datetime) -> bool:
    with connect(database) as connection:
        return publication.is_outdated(connection, now)


def test_after_runs_by_a_clock_that_was_months_ahead_everything_goes_on(
    source: SourceStub,
    set_clock: SetClock,
    database: str,
    query: Query,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_clock(AHEAD)
    assert ingest.main(["--day", "2026-11-22"]) == 0
    assert recommend.main([]) == 0
    assert retrain.main([]) == 0
    assert monitor.main([]) == 0
    assert live_publication(query) is not None

    # The clock is put right; half of the catalogue is missing, which blocks the tracks and the listens behind them.
    now = NIGHT + DAY
    set_clock(now)
    assert is_outdated(database, now)  # what is live went live in the future
    every_track, source.tracks = source.tracks, source.tracks[:15]
    source.listen_history.append(play(1, [3], NIGHT + timedelta(hours=7)))
    assert ingest.main(["--day", "2026-11-23"]) == 1
    assert "began at 2027-06-01 03:00 UTC, and now it is 2026-11-23 03:00 UTC" in capsys.readouterr().out
    with monkeypatch.context() as patch:
        patch.setenv("THRESHOLD_MIN_SHARE_OF_PUBLISHED", "0.1")
        assert replay.main(["tracks-2026-11-23"]) == 0
    assert replay.main(["listen_history-2026-11-23"]) == 0
    assert recommend.main([]) == 0
    assert not is_outdated(database, now)

    # What was read before is still the older, also when the clock says otherwise.
    query("update ops.batches set status = 'blocked' where batch_id = 'tracks-2026-11-22' returning 1")
    assert replay.main(["tracks-2026-11-22"]) == 1

    now += DAY
    set_clock(now)
    source.tracks = every_track
    source.listen_history.append(play(2, [4], now - timedelta(hours=5)))
    assert ingest.main(["--day", "2026-11-24"]) == 0
    assert is_outdated(database, now)
    for run in (recommend, retrain, monitor, maintain):
        assert run.main([]) == 0  # type: ignore[attr-defined]
    before = live_publication(query)
    assert rollback.main([]) == 0
    assert live_publication(query) != before
    judged = query("select day::text, verdict from ml.decisions where kind = 'day' order by decision_id")
    assert [day for day, _ in judged] == ["2026-11-21", "2026-11-22", "2026-11-23"]
    assert query(
        "select (batches @> array['tracks-2026-11-24', 'users-2026-11-24', 'listen_history-2026-11-24'])"
        " from ml.publications order by publication_id desc limit 1"
    ) == [(True,)]


def test_a_play_of_a_device_whose_clock_is_ahead_keeps_no_day_from_being_judged(
    source: SourceStub, set_clock: SetClock, query: Query
) -> None:
    source.listen_history.append(play(5, [1, 2, 3], NIGHT + timedelta(hours=30)))
    for number in range(4):
        set_clock(NIGHT + number * DAY)
        assert ingest.main(["--day", f"2026-11-{22 + number}"]) == 0
        assert recommend.main([]) == 0
        assert monitor.main([]) == 0
        for listener in range(1, 9):
            at = NIGHT + number * DAY + timedelta(hours=9, minutes=listener)
            source.listen_history.append(play(listener, [listener, listener + number + 1], at))
    assert query("select day::text, verdict from ml.decisions where kind = 'day' order by day") == [
        ("2026-11-22", "gathering"),
        ("2026-11-23", "gathering"),
        ("2026-11-24", "gathering"),
    ]
    lives = query("select data_as_of, live_from from ml.publications join ml.live_publications using (publication_id)")
    assert all(made_of < live_from for made_of, live_from in lives)
    # It was played, so nobody recommends it again.
    played = query("select track_id from mart.user_track_plays where user_id = 5")
    shown = query("select track_id from ml.current_recommendations where user_id = 5")
    assert not set(played) & set(shown)


def test_a_clock_that_goes_back_an_hour_between_two_runs_changes_no_order(
    source: SourceStub, set_clock: SetClock, database: str, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ingest.main(["--day", "2026-11-22"]) == 0
    assert recommend.main([]) == 0
    back = NIGHT - timedelta(hours=1)
    set_clock(back)
    source.tracks = source.tracks[:15]
    assert ingest.main(["--day", "2026-11-22", "--refresh", "--endpoint", "tracks"]) == 1
    monkeypatch.setenv("THRESHOLD_MIN_SHARE_OF_PUBLISHED", "0.1")
    set_clock(back + CLOCK_SKEW)
    assert replay.main(["tracks-2026-11-22-r2"]) == 0
    assert query("select count(*) from warehouse.tracks where removed_at is null") == [(15,)]
    assert is_outdated(database, back + CLOCK_SKEW)
    assert recommend.main([]) == 0
    assert not is_outdated(database, back + CLOCK_SKEW)
    assert query("select max(track_id) <= 15 from ml.current_recommendations") == [(True,)]


def test_a_source_whose_updates_are_all_in_2099_is_blocked_and_then_comes_in(source: SourceStub, query: Query) -> None:
    right, source.users = source.users, [row | {"updated_at": "2099-01-01T00:00:00.000001"} for row in source.users]
    assert ingest.main(["--day", "2026-11-22"]) == 1
    assert status(query, "users-2026-11-22") == "blocked"
    assert query("select distinct reason from ops.rejected_rows where endpoint = 'users'") == [
        ("updated_at: in the future",)
    ]
    source.users = right
    assert ingest.main(["--day", "2026-11-22"]) == 0
    assert recommend.main([]) == 0


def test_a_play_of_the_distant_past_is_a_play(source: SourceStub, query: Query) -> None:
    source.listen_history.append(play(3, [7], datetime(1971, 2, 3, tzinfo=UTC)))
    assert ingest.main(["--day", "2026-11-22"]) == 0
    for run in (recommend, retrain, monitor):
        assert run.main([]) == 0  # type: ignore[attr-defined]
    assert live_publication(query) is not None


def test_what_was_judged_of_days_that_are_not_over_keeps_no_day_from_its_turn(database: str) -> None:
    """Two days were judged that have not begun, while our clock and that of a device were ahead."""
    with connect(database) as connection:
        connection.execute(
            "insert into ml.decisions (kind, day, verdict, why, decided_at)"
            " select 'day', unnest(array['2026-11-20', '2027-05-30', '2027-05-31']::date[]), 'steady', '', %s",
            [AHEAD],
        )
        connection.execute(
            "insert into warehouse.users values (1, 'A', 'B', 'e', 'f', 'Rock', %(at)s, %(at)s, null, 0, 'b')",
            {"at": NIGHT},
        )
        connection.execute("create table warehouse.every_month partition of warehouse.listen_history default")
        connection.execute(
            "insert into warehouse.listen_history values (1, 1, %(at)s, %(at)s, null, 0, 'b')", {"at": NIGHT}
        )
        for day in ("2026-11-22", "2026-11-23"):
            connection.execute(
                "insert into ops.batches (batch_id, endpoint, day, revision, source, status, started_at)"
                " values (%s, 'listen_history', %s, 1, 's', 'published', %s)",
                [f"listen_history-{day}", day, NIGHT],
            )
        due = [one.day.isoformat() for one in quality_monitor.days_to_evaluate(connection, NIGHT + DAY)]
    assert due == ["2026-11-21", "2026-11-22"]
