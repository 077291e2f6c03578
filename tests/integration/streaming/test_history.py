"""The history of fresh recommendations, from which the monitor reads what users saw."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest

from core.clock import utc_now
from core.database import connect
from erasure import suppression_list
from erasure.steps import begin_erasure, erase_rows
from erasure.subject_matching import UserIdentity
from recommender.monitoring.daily_quality import HISTORY_AGE, DayQuality, measure_day
from recommender.publishing import model_runs, publication
from streaming.fresh_recommendations import recommend_to_users, save_lists
from streaming.live_model import load_live_model
from streaming.recommendation_history import StreamedChange, remove_fresh_recommendations
from tests.integration.streaming.conftest import Stream, at, row, until
from tests.integration.streaming.test_consuming import fresh
from tests.integration.streaming.test_fresh_recommendations import train_model
from tests.integration.streaming.test_reconciliation import publish
from tests.warehouse_data import Session

TIME = "2024-04-01T10:00:00"
# In the future, so that the publication of a test is live all day, and no test runs across midnight.
NOON = datetime.combine(date.today() + timedelta(days=2), time(12), UTC)


def history(stream: Stream) -> list[tuple[Any, ...]]:
    """Publication, user and tracks of each change, in order."""
    return stream.query(
        "select publication_id, user_id, track_ids from ml.fresh_recommendation_history order by history_id"
    )


def live_id(stream: Stream) -> int:
    return int(stream.query("select publication_id from ml.current_publication")[0][0])


def measure(stream: Stream, day: date) -> DayQuality:
    with connect(stream.place.database) as connection, connection.transaction():
        return measure_day(connection, day, 20, None, NOON + timedelta(days=1))


def test_each_saved_list_is_in_the_history(stream: Stream) -> None:
    with stream.consuming():
        stream.send(row(1, TIME, [3]))
        first = until(lambda: fresh(stream).get(1), "fresh recommendations")
        stream.send(row(1, "2024-04-01T11:00:00", [5]))
        until(lambda: fresh(stream)[1] != first, "newer fresh recommendations")

    assert history(stream) == [(live_id(stream), 1, first), (live_id(stream), 1, fresh(stream)[1])]
    assert stream.query(
        "select shown_from = as_of from ml.fresh_recommendation_history join ml.fresh_recommendations"
        " using (publication_id, user_id, track_ids)"
    ) == [(True,)]


def test_publication_rollback_and_switch_are_in_the_history(stream: Stream) -> None:
    first = live_id(stream)
    with stream.consuming():
        stream.send(row(1, TIME, [3]))
        before = until(lambda: fresh(stream).get(1), "fresh recommendations")
        second = train_model(stream, "popularity_by_genre")
        fresh_of_second = until(lambda: fresh(stream).get(1), "fresh recommendations of the second publication")
        with connect(stream.place.database) as connection:
            publication.roll_back(connection, first, now=utc_now(), why="a test")
        until(lambda: fresh(stream), "fresh recommendations after the rollback")
    with stream.consuming(stream_fresh=False):
        until(lambda: not fresh(stream), "no fresh recommendations")

    changes = history(stream)
    assert [change for change in changes if change[0] == first] == [
        (first, 1, before), (first, 1, []), (first, 1, before), (first, 1, []),
    ]  # fmt: skip
    assert [change for change in changes if change[0] == second] == [(second, 1, fresh_of_second), (second, 1, [])]


def test_session_is_never_compared_with_a_list_that_includes_it(stream: Stream) -> None:
    """The clock of the source is four minutes ahead."""
    created_at = (utc_now() + timedelta(minutes=4)).replace(tzinfo=None).isoformat()
    with stream.consuming():
        stream.send(row(1, created_at, [3]))
        until(lambda: fresh(stream), "fresh recommendations")

    assert stream.query(
        "select shown_from = created_at + interval '1 microsecond', as_of < created_at"
        " from ml.fresh_recommendation_history join stream.sessions using (user_id)"
        " join ml.fresh_recommendations using (user_id)"
    ) == [(True, True)]


def test_monitor_evaluates_streamed_sessions_once_by_the_lists_that_users_saw(stream: Stream) -> None:
    """A user plays the first published track, and then the first track of the fresh list that follows."""
    published = stream.query("select track_id from ml.current_recommendations where user_id = 1 order by rank")
    first = published[0][0]
    with stream.consuming(lambda: NOON):
        stream.send(row(1, f"{NOON - timedelta(hours=1):%Y-%m-%dT%H:%M:%S}", [first]))
        second = until(lambda: fresh(stream), "fresh recommendations")[1][0]
        stream.send(row(1, f"{NOON:%Y-%m-%dT%H:%M:%S}", [second]))
        stream.wait_for(2)
    assert measure(stream, NOON.date()).not_evaluated_reason, "no snapshot has the sessions yet"

    sessions = [Session(1, NOON - timedelta(hours=1), (first,)), Session(1, NOON, (second,))]
    publish(stream, *sessions)

    assert stream.query("select bool_and(confirmed_by is not null) from stream.sessions") == [(True,)]
    ndcg = measure(stream, NOON.date())["ndcg@20"]
    assert ndcg
    assert (ndcg.users, ndcg.value) == (1, 1)


def test_history_of_an_erased_user_is_erased(stream: Stream) -> None:
    with stream.consuming():
        stream.send(row(1, TIME, [3]), row(2, TIME, [4]))
        until(lambda: set(fresh(stream)) == {1, 2}, "fresh recommendations")
    with connect(stream.place.database) as connection:
        suppressed = suppression_list.read_database(connection)
        identity = UserIdentity(1)
        number, _ = begin_erasure(
            connection, identity, suppressed, reason="a test", requested_by="a test", now=utc_now()
        )
        # A consumer removes lists while the erasure is between two tables.
        connection.execute("delete from ml.fresh_recommendation_history where user_id = 1")
        remove_fresh_recommendations(connection, utc_now(), of_live_publication=True)
        erase_rows(connection, identity, number, utc_now())

    assert {user_id for _, user_id, _ in history(stream)} == {2}


def test_removal_of_the_list_of_an_erased_user_is_not_recorded(stream: Stream) -> None:
    with stream.consuming():
        stream.send(row(1, TIME, [3]))
        until(lambda: fresh(stream), "fresh recommendations")
    with connect(stream.place.database) as connection:
        suppressed = suppression_list.read_database(connection)
        begin_erasure(connection, UserIdentity(1), suppressed, reason="a test", requested_by="a test", now=utc_now())
        assert not remove_fresh_recommendations(connection, utc_now(), of_live_publication=True)

    assert fresh(stream) == {}
    assert len(history(stream)) == 1


def test_history_has_a_sample_of_many_users(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample has a quarter of 120 users: the greatest share of 1, 1/2, 1/4 and so on with at most 50 users."""
    monkeypatch.setattr("streaming.recommendation_history.HISTORY_USERS", 50)
    with connect(stream.place.database) as connection:
        champion = model_runs.find_champion(connection)
        assert champion is not None
        live = load_live_model(connection, champion, (), stream.settings, utc_now())
        users = range(1, 121)
        lists = recommend_to_users(connection, live, users, now=utc_now(), list_length=10)
        save_lists(connection, live, lists, dict.fromkeys(users, StreamedChange(1, at(TIME))), utc_now())
        sample = connection.execute("select u from generate_series(1, 120) as u where hashint8extended(u, 0) & 3 = 0")

    assert [user_id for _, user_id, _ in history(stream)] == sorted(user_id for (user_id,) in sample)
    assert 15 < len(history(stream)) < 50


def test_consumer_prunes_replaced_lists(stream: Stream) -> None:
    with stream.consuming():
        stream.send(row(1, TIME, [3]))
        first = until(lambda: fresh(stream).get(1), "fresh recommendations")
        stream.send(row(1, "2024-04-01T11:00:00", [5]))
        until(lambda: fresh(stream)[1] != first, "newer fresh recommendations")
    with stream.consuming(lambda: utc_now() + HISTORY_AGE + timedelta(minutes=1)):
        until(lambda: len(history(stream)) == 1, "the older list is deleted")

    assert history(stream) == [(live_id(stream), 1, fresh(stream)[1])]
