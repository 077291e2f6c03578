"""Fresh recommendations: for every model, across publications and rollbacks, and never for an erased user."""

from __future__ import annotations

import time
from typing import Any

import psycopg
import pytest

from core.clock import utc_now
from core.database import connect
from core.errors import DatabaseError, ModelError
from core.roles import STREAM, in_role
from demo import live_listening
from erasure import suppression_list
from erasure.steps import begin_erasure
from erasure.subject_matching import UserIdentity
from recommender.data.mart_reader import read_negative_feedback
from recommender.data.play_log import NegativeFeedback, PlayWeighting
from recommender.models.recipe import Recipe
from recommender.models.registry import CANDIDATES
from recommender.publishing import model_runs, publication
from streaming.fresh_recommendations import recommend_to_users, save_lists
from streaming.live_model import load_live_model
from streaming.recommendation_history import StreamedChange
from tests.integration.streaming.conftest import Stream, at, refresh, row, train, until
from tests.integration.streaming.test_consuming import fresh
from tests.integration.streaming.test_reconciliation import publish
from tests.publications import live_recommendations
from tests.warehouse_data import Session, add_sessions, rebuild_play_counts

TIME = "2024-04-01T10:00:00"
USERS = range(1, 9)
NEWER_BATCH = "listen_history-2024-04-01"


def train_model(stream: Stream, name: str, weighting: PlayWeighting | None = None) -> int:
    """Train a model of the registry with its first settings, and publish."""
    candidate = CANDIDATES[name]
    recipe = Recipe(name, dict(candidate.settings), weighting or PlayWeighting())
    return train(stream.place, candidate.model_class(**candidate.settings), recipe)


def send_sessions(stream: Stream, *, play_the_same: bool = False) -> None:
    """Let some users play tracks of their taste, or all of them the same, and wait for their recommendations."""
    with stream.consuming():
        for user in USERS:
            first = 2 if play_the_same else 2 + user % 2
            stream.send(row(user, TIME, [first, first + 2, first + 4]))
        until(lambda: set(fresh(stream)) == set(USERS), "fresh recommendations")


def add_streamed_sessions_to_warehouse(stream: Stream) -> None:
    with connect(stream.place.database) as connection:
        add_sessions(connection, [Session(user, at, tuple(items)) for user, at, _, items in stream.sessions()])
        rebuild_play_counts(connection)


@pytest.mark.parametrize("name", CANDIDATES)
def test_same_tracks_as_a_full_run_for_every_model(unpublished_stream: Stream, name: str) -> None:
    """The popularity of tracks stays as published until the next publication, so two models may differ from a full run.

    They do not if all users play the same tracks: nobody is then recommended the tracks that became more popular.
    """
    stream = unpublished_stream
    train_model(stream, name)
    send_sessions(stream, play_the_same=not Recipe(name).is_personalised)
    streamed = fresh(stream)
    add_streamed_sessions_to_warehouse(stream)

    refresh(stream.place)

    published = live_recommendations(stream.query)
    assert {user: set(published[user]) for user in USERS} == {user: set(tracks) for user, tracks in streamed.items()}


def test_weighting_of_the_champion_counts(unpublished_stream: Stream) -> None:
    stream = unpublished_stream
    train_model(stream, "ease", PlayWeighting(half_life_days=7))
    send_sessions(stream)
    streamed = fresh(stream)
    add_streamed_sessions_to_warehouse(stream)

    refresh(stream.place)

    published = live_recommendations(stream.query)
    assert {user: set(published[user]) for user in USERS} == {user: set(tracks) for user, tracks in streamed.items()}


def test_hidden_tracks_are_left_out_and_lists_stay_full(unpublished_stream: Stream) -> None:
    stream = unpublished_stream
    publication_id = train_model(stream, "ease")
    send_sessions(stream)
    before = fresh(stream)
    hiding_some, hiding_all = 1, 2
    stream.query("insert into serving.api_keys values ('k', 'app', '', '{}', '2024-03-01') returning 1")
    for user, tracks in ((hiding_some, before[hiding_some][:3]), (hiding_all, list(range(1_000)))):
        stream.query(
            "insert into ml.reactions select %s, id, null, 'hide', 'k', '2024-03-01', '2024-03-01'"
            " from warehouse.tracks where id = any (%s) returning 1",
            user,
            tracks,
        )
    with connect(in_role(stream.place.database, STREAM)) as connection:
        champion = model_runs.find_champion(connection)
        assert champion and champion.publication_id == publication_id
        live = load_live_model(connection, champion, (), stream.place.settings, utc_now())
        some, everything = recommend_to_users(
            connection, live, [hiding_some, hiding_all], now=utc_now(), list_length=10
        )
    assert (some.failure, len(some.track_ids)) == (None, len(before[hiding_some]))
    assert not set(some.track_ids) & set(before[hiding_some][:3])
    assert (everything.failure, everything.track_ids) == (None, [])


def test_negative_feedback_of_these_users_counts(unpublished_stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = unpublished_stream
    train_model(stream, "ease", PlayWeighting(without_not_useful=True))
    stream.query("insert into serving.api_keys values ('k', 'app', '', '{}', '2024-03-01') returning 1")
    stream.query(
        "insert into ml.feedback (user_id, track_id, useful, key_id, created_at, updated_at)"
        " select user_id, track_id, false, 'k', '2024-03-01', '2024-03-01' from mart.user_track_plays"
        " where track_id % 4 = 0 returning 1"
    )
    users_read: set[int] = set()

    def read(*arguments: Any, **options: Any) -> NegativeFeedback:
        feedback = read_negative_feedback(*arguments, **options)
        if "user_ids" in options:  # else the loader of the model reads
            users_read.update(feedback.users.tolist())
        return feedback

    monkeypatch.setattr("recommender.data.mart_reader.read_negative_feedback", read)
    send_sessions(stream)
    assert users_read == {user for user in USERS if user % 2 == 0}
    streamed = fresh(stream)
    add_streamed_sessions_to_warehouse(stream)

    refresh(stream.place)

    published = live_recommendations(stream.query)
    assert {user: set(published[user]) for user in USERS} == {user: set(tracks) for user, tracks in streamed.items()}


def test_publication_and_rollback_hide_the_lists_of_the_previous_publication(stream: Stream) -> None:
    first = stream.query("select publication_id from ml.current_publication")[0][0]
    with stream.consuming():
        stream.send(row(1, TIME, [3, 5, 7]))
        until(lambda: fresh(stream), "fresh recommendations")

        second = train_model(stream, "popularity_by_genre")
        until(lambda: fresh(stream), "fresh recommendations of the second publication")
        assert stream.query("select distinct publication_id from ml.fresh_recommendations") == [(second,)]

        with connect(stream.place.database) as connection:
            publication.roll_back(connection, first, now=utc_now(), why="a test")
        until(lambda: fresh(stream), "fresh recommendations after the rollback")

    assert not {3, 5, 7} & set(fresh(stream)[1])


def test_rollback_rebuilds_the_lists_of_sessions_that_a_newer_batch_confirmed(stream: Stream) -> None:
    """The older publication does not include these sessions; the newer one does, and needs no fresh lists for them."""
    first = stream.query("select publication_id from ml.current_publication")[0][0]
    with stream.consuming() as consumer:
        stream.send(row(1, TIME, [3, 5, 7]))
        until(lambda: fresh(stream), "fresh recommendations")
        with connect(stream.place.database) as connection:
            connection.execute(
                "insert into ops.batches (batch_id, endpoint, day, revision, source, status, started_at)"
                " values (%s, 'listen_history', '2024-04-01', 1, '', 'published', '2024-04-01')",
                [NEWER_BATCH],
            )
        publish(stream, Session(1, at(TIME), (3, 5, 7)), batch=NEWER_BATCH)
        assert stream.query("select confirmed_by from stream.sessions") == [(NEWER_BATCH,)]
        refresh(stream.place)
        stream.send(row(2, TIME, [4]))
        until(lambda: set(fresh(stream)) == {2}, "fresh recommendations of the second publication")
        loads = consumer.metrics.model_loads._value.get()

        with connect(stream.place.database) as connection:
            publication.roll_back(connection, first, now=utc_now(), why="a test")
        until(lambda: consumer.metrics.model_loads._value.get() > loads, "the model of the first publication")
        until(lambda: set(fresh(stream)) == {1, 2}, "fresh recommendations after the rollback")

    assert not {3, 5, 7} & set(fresh(stream)[1])


def test_users_of_full_batches_get_their_lists_from_the_changes(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While messages wait, they are stored first."""
    monkeypatch.setattr("streaming.recommendation_updates._CHANGES_PER_PAGE", 3)
    monkeypatch.setattr("streaming.recommendation_updates._USERS_WHILE_BEHIND", 1)
    monkeypatch.setattr("streaming.recommendation_updates._USERS_PER_STEP", 2)
    stream.send(*(row(user, TIME, [2 + user % 2, 4 + user % 2]) for user in USERS), partition=0)
    with stream.consuming(stream_batch_messages=len(USERS)):
        until(lambda: set(fresh(stream)) == set(USERS), "fresh recommendations")

    assert [batch.messages for batch in stream.batches] == [len(USERS)]


def test_list_that_fails_its_checks_does_not_replace_the_stored_list(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stream.consuming():
        stream.send(row(1, TIME, [3]))
        until(lambda: fresh(stream), "fresh recommendations")
        before = fresh(stream)
        monkeypatch.setattr("streaming.fresh_recommendations._failure", lambda *_: "a track comes twice")
        stream.send(row(1, "2024-04-01T11:00:00", [5]))
        until(lambda: stream.query("select 1 from stream.failed_recommendations"), "a failure")

    assert fresh(stream) == before
    assert stream.query("select user_id, reason from stream.failed_recommendations") == [(1, "a track comes twice")]


def test_fresh_recommendations_are_removed_some_at_a_time_and_come_back(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When another publication is live, and when the setting turns them off: then no session is lost."""
    monkeypatch.setattr("streaming.recommendation_history._LISTS_PER_DELETE", 3)
    monkeypatch.setattr("streaming.recommendation_updates._REFRESH_SECONDS", 0.1)
    first = stream.query("select publication_id from ml.current_publication")[0][0]
    stored_lists = "select count(*) from ml.fresh_recommendations where publication_id = %s"
    send_sessions(stream)
    with stream.consuming():
        refresh(stream.place)
        until(lambda: set(fresh(stream)) == set(USERS), "fresh recommendations of the second publication")
        until(lambda: stream.query(stored_lists, first) == [(0,)], "no lists of the first publication")
    with stream.consuming(stream_fresh=False):
        until(lambda: not fresh(stream), "no fresh recommendations")
        stream.send(row(9, TIME, [3]))
        stream.wait_for(len(USERS) + 1)
    assert fresh(stream) == {}

    with stream.consuming():
        until(lambda: set(fresh(stream)) == {*USERS, 9}, "fresh recommendations again")


def test_erased_user_is_removed_before_anything_is_stored(stream: Stream) -> None:
    with connect(stream.place.database) as connection:
        begin_erasure(
            connection,
            UserIdentity(1),
            suppression_list.read_database(connection),
            reason="a test",
            requested_by="a test",
            now=utc_now(),
        )
    with stream.consuming():
        stream.send(row(1, TIME, [3]), row(2, TIME, [4]), row(1, TIME, ["x"]))
        stream.wait_for(3)

    assert [session[0] for session in stream.sessions()] == [2]
    assert stream.query("select count(*) from ops.rejected_rows where topic is not null") == [(0,)]
    assert sum(batch.erased for batch in stream.batches) == 2


def test_erasure_waits_for_a_batch_that_read_the_suppression_list_before(stream: Stream) -> None:
    """Otherwise the batch could store a session of the user after the erasure looked for their rows."""
    query = "select pg_advisory_xact_lock_shared(%s)"
    with connect(stream.place.database) as batch, batch.transaction():
        batch.execute(query, [suppression_list.SUPPRESSION_LOCK])
        with connect(stream.place.database, settings={"lock_timeout": "200ms"}) as connection:
            suppressed = suppression_list.read_database(connection)
            with pytest.raises(DatabaseError) as refused:
                begin_erasure(
                    connection, UserIdentity(1), suppressed, reason="a test", requested_by="a test", now=utc_now()
                )
    assert isinstance(refused.value.__cause__, psycopg.errors.LockNotAvailable)


def test_user_who_is_erased_while_recommendations_are_computed_gets_none(stream: Stream) -> None:
    with connect(stream.place.database) as connection:
        champion = model_runs.find_champion(connection)
        assert champion is not None
        live = load_live_model(connection, champion, (), stream.settings, utc_now())
        lists = recommend_to_users(connection, live, [1, 2], now=utc_now(), list_length=10)
        suppressed = suppression_list.read_database(connection)
        begin_erasure(connection, UserIdentity(1), suppressed, reason="a test", requested_by="a test", now=utc_now())

        changes = dict.fromkeys((1, 2), StreamedChange(1, at(TIME)))
        save_lists(connection, live, lists, changes, utc_now())

    assert set(fresh(stream)) == {2}


@pytest.mark.parametrize("error", [ModelError("no scores"), ValueError("a defect")])
def test_model_that_fails_does_not_stop_the_consumer(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("streaming.recommendation_updates.recommend_to_users", fail)
    with stream.consuming():
        stream.send(row(1, TIME, [3]))
        until(lambda: stream.query("select 1 from stream.failed_recommendations"), "a failure")
        stream.send(row(2, TIME, [4]))
        stream.wait_for(2)

    assert len(stream.sessions()) == 2
    assert fresh(stream) == {}


def test_model_file_that_is_lost_does_not_stop_the_consumer(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[object] = []
    monkeypatch.setattr(
        "streaming.live_model.load_live_model", lambda *values: loads.append(values) or load_live_model(*values)
    )
    for path in (stream.place.data_dir / "models").glob("*.npz"):
        path.unlink()
    with stream.consuming():
        stream.send(row(1, TIME, [3]))
        stream.wait_for(1)
        time.sleep(3)

    assert len(stream.sessions()) == 1
    assert len(loads) == 1, "the plays of all users are read once a minute only"


def test_demo_shows_the_recommendations_that_serving_offers(stream: Stream) -> None:
    with connect(stream.place.database) as connection:
        response = live_listening._recommendations(connection, 1)
    assert response["as_of"]
    assert {"track_id", "title", "artist"} <= response["recommendations"][0].keys()
