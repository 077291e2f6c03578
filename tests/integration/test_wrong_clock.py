"""Wrong clocks, of this machine or of a user's device: later runs work normally."""

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


def play(user_id: int, tracks: list[int], at: datetime) -> Row:
    text = at.replace(tzinfo=None).isoformat(timespec="microseconds")
    return session(user_id, tracks, created_at=text, updated_at=text)


def plays_until(end: datetime) -> list[Row]:
    """Sixty sessions of twelve users, one session every twelve hours, the last just before `end`."""
    draw = random.Random(1)
    begin = end - timedelta(hours=12 * 60, microseconds=-1)
    times = [begin + timedelta(hours=12 * number) for number in range(60)]
    return [play(draw.randint(1, 12), draw.sample(range(1, 31), 5), at) for at in times]


@pytest.fixture
def set_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SetClock:
    file = tmp_path / "clock"
    monkeypatch.setenv("CLOCK_FILE", str(file))

    def write_time(time: datetime) -> None:
        file.write_text(time.isoformat())

    write_time(NIGHT)
    return write_time


@pytest.fixture
def source(
    prefect_server: None, environment: Path, database: str, set_clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SourceStub]:
    """Thirty tracks and twelve users; the last plays are in the evening before NIGHT."""
    rows = SourceStub(
        [track(number) for number in range(1, 31)],
        [user(number) for number in range(1, 13)],
        plays_until(NIGHT - timedelta(hours=4)),
    )
    for name, value in quick_settings(database, environment).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(ingest_tasks.land_pages, "retries", 0)
    with serve_source(rows) as stub, quick_candidates():
        monkeypatch.setenv("MOOVITAMIX_API_URL", stub.url)
        yield stub


def status(query: Query, batch_id: str) -> str:
    return str(query("select status from ops.batches where batch_id = %s", batch_id)[0][0])


def is_outdated(database: str, now: datetime) -> bool:
    with connect(database) as connection:
        return publication.is_outdated(connection, now)


def test_runs_work_after_a_clock_that_was_months_ahead(
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

    # The clock is corrected. Half of the catalogue is missing, which blocks tracks and sessions.
    now = NIGHT + DAY
    set_clock(now)
    assert is_outdated(database, now)  # the publication went live in the future
    all_tracks, source.tracks = source.tracks, source.tracks[:15]
    source.listen_history.append(play(1, [3], NIGHT + timedelta(hours=7)))
    assert ingest.main(["--day", "2026-11-23"]) == 1
    assert "began at 2027-06-01 03:00 UTC, and now it is 2026-11-23 03:00 UTC" in capsys.readouterr().out
    with monkeypatch.context() as patch:
        patch.setenv("THRESHOLD_MIN_SHARE_OF_PUBLISHED", "0.1")
        assert replay.main(["tracks-2026-11-23"]) == 0
    assert replay.main(["listen_history-2026-11-23"]) == 0
    assert recommend.main([]) == 0
    assert not is_outdated(database, now)

    # A batch that was read earlier counts as older, even if its time is later.
    query("update ops.batches set status = 'blocked' where batch_id = 'tracks-2026-11-22' returning 1")
    assert replay.main(["tracks-2026-11-22"]) == 1

    now += DAY
    set_clock(now)
    source.tracks = all_tracks
    source.listen_history.append(play(2, [4], now - timedelta(hours=5)))
    assert ingest.main(["--day", "2026-11-24"]) == 0
    assert is_outdated(database, now)
    for run in (recommend, retrain, monitor, maintain):
        assert run.main([]) == 0  # type: ignore[attr-defined]
    publication_before = live_publication(query)
    assert rollback.main([]) == 0
    assert live_publication(query) != publication_before
    decisions = query("select day::text, verdict from ml.decisions where kind = 'day' order by decision_id")
    assert [day for day, _ in decisions] == ["2026-11-21", "2026-11-22", "2026-11-23"]
    assert query(
        "select (batches @> array['tracks-2026-11-24', 'users-2026-11-24', 'listen_history-2026-11-24'])"
        " from ml.publications order by publication_id desc limit 1"
    ) == [(True,)]


def test_play_from_the_future_does_not_stop_the_evaluation_of_days(
    source: SourceStub, set_clock: SetClock, query: Query
) -> None:
    source.listen_history.append(play(5, [1, 2, 3], NIGHT + timedelta(hours=30)))
    for number in range(4):
        set_clock(NIGHT + number * DAY)
        assert ingest.main(["--day", f"2026-11-{22 + number}"]) == 0
        assert recommend.main([]) == 0
        assert monitor.main([]) == 0
        for user_id in range(1, 9):
            at = NIGHT + number * DAY + timedelta(hours=9, minutes=user_id)
            source.listen_history.append(play(user_id, [user_id, user_id + number + 1], at))
    assert query("select day::text, verdict from ml.decisions where kind = 'day' order by day") == [
        ("2026-11-22", "gathering"),
        ("2026-11-23", "gathering"),
        ("2026-11-24", "gathering"),
    ]
    publication_times = query(
        "select data_as_of, live_from from ml.publications join ml.live_publications using (publication_id)"
    )
    assert all(data_as_of < live_from for data_as_of, live_from in publication_times)
    # The played tracks are not recommended.
    played = query("select track_id from mart.user_track_plays where user_id = 5")
    recommended = query("select track_id from ml.current_recommendations where user_id = 5")
    assert not set(played) & set(recommended)


def test_clock_set_back_an_hour_keeps_the_order_of_runs(
    source: SourceStub, set_clock: SetClock, database: str, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ingest.main(["--day", "2026-11-22"]) == 0
    assert recommend.main([]) == 0
    earlier = NIGHT - timedelta(hours=1)
    set_clock(earlier)
    source.tracks = source.tracks[:15]
    assert ingest.main(["--day", "2026-11-22", "--refresh", "--endpoint", "tracks"]) == 1
    monkeypatch.setenv("THRESHOLD_MIN_SHARE_OF_PUBLISHED", "0.1")
    set_clock(earlier + CLOCK_SKEW)
    assert replay.main(["tracks-2026-11-22-r2"]) == 0
    assert query("select count(*) from warehouse.tracks where removed_at is null") == [(15,)]
    assert is_outdated(database, earlier + CLOCK_SKEW)
    assert recommend.main([]) == 0
    assert not is_outdated(database, earlier + CLOCK_SKEW)
    assert query("select max(track_id) <= 15 from ml.current_recommendations") == [(True,)]


def test_batch_with_all_updates_in_the_future_is_blocked(source: SourceStub, query: Query) -> None:
    correct_users, source.users = (
        source.users,
        [row | {"updated_at": "2099-01-01T00:00:00.000001"} for row in source.users],
    )
    assert ingest.main(["--day", "2026-11-22"]) == 1
    assert status(query, "users-2026-11-22") == "blocked"
    assert query("select distinct reason from ops.rejected_rows where endpoint = 'users'") == [
        ("updated_at: in the future",)
    ]
    source.users = correct_users
    assert ingest.main(["--day", "2026-11-22"]) == 0
    assert recommend.main([]) == 0


def test_play_from_the_distant_past_is_accepted(source: SourceStub, query: Query) -> None:
    source.listen_history.append(play(3, [7], datetime(1971, 2, 3, tzinfo=UTC)))
    assert ingest.main(["--day", "2026-11-22"]) == 0
    for run in (recommend, retrain, monitor):
        assert run.main([]) == 0  # type: ignore[attr-defined]
    assert live_publication(query) is not None


def test_decisions_for_future_days_do_not_stop_later_evaluations(database: str) -> None:
    """A clock that was ahead caused decisions for two days that have not begun."""
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
        due = [day.day.isoformat() for day in quality_monitor.days_to_evaluate(connection, NIGHT + DAY)]
    assert due == ["2026-11-21", "2026-11-22"]
