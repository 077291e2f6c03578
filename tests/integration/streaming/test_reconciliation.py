"""Streamed sessions and the nightly snapshot: each play counts once, and the snapshot wins."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from core.clock import utc_now
from core.database import connect
from core.roles import STREAM, in_role
from pipeline import reconciliation
from pipeline.reconciliation import delete_confirmed_sessions, reconcile_streamed_sessions
from streaming import waiting_sessions
from streaming.metrics import StreamMetrics
from streaming.waiting_sessions import WaitingSessions
from tests.conftest import with_time
from tests.integration.streaming.conftest import Stream, at, row, until
from tests.warehouse_data import Session, add_sessions, insert_sessions, rebuild_play_counts

TIME, LATER = "2024-04-01T10:00:00", "2024-04-01T10:05:00"
BATCH = "listen_history-2024-03-31"


def publish(
    stream: Stream,
    *sessions: Session,
    batch: str = BATCH,
    days: float = 3,
    hours_later: float = 0,
    lock_timeout: str = "60s",
) -> None:
    """Do what the publication of a snapshot with more sessions does."""
    settings = {"lock_timeout": lock_timeout}
    now = utc_now() + timedelta(hours=hours_later)
    with connect(stream.place.database, settings=settings) as connection:
        with connection.transaction():
            add_sessions(connection, sessions)
            rebuild_play_counts(connection)
            reconcile_streamed_sessions(connection, batch, unconfirmed_days=days, now=now)
        delete_confirmed_sessions(connection, confirmed_days=days, now=now)


def plays_counted(stream: Stream, user_id: int, track_id: int) -> int:
    """How often the user played the track, as recommendations count it."""
    from core.frames import read_frame
    from streaming.fresh_recommendations import PLAYS

    with connect(stream.place.database) as connection:
        plays = read_frame(connection, "stream/sessions.copy_plays_of_users", PLAYS, {"user_ids": [user_id]})
    return int(plays.filter(track_id=track_id)["plays"].sum())


def send(stream: Stream, *values: object) -> None:
    with stream.consuming():
        stream.send(*values)
        stream.wait_for(len(values))


def counted(stream: Stream) -> list[tuple[int, int, int]]:
    return stream.query("select confirmed, differing, dropped from stream.reconciliations order by reconciled_at")


def test_confirmed_session_counts_once(stream: Stream) -> None:
    before = plays_counted(stream, 1, 3)
    send(stream, row(1, TIME, [3, 3, 5]))
    assert plays_counted(stream, 1, 3) == before + 2

    publish(stream, Session(1, at(TIME), (3, 3, 5)))

    assert plays_counted(stream, 1, 3) == before + 2
    assert stream.query("select confirmed_by from stream.sessions") == [(BATCH,)]
    assert counted(stream) == [(1, 0, 0)]


def test_session_that_grew_after_the_snapshot_was_read_waits_for_the_next(stream: Stream) -> None:
    before = plays_counted(stream, 1, 3)
    send(stream, row(1, TIME, [3], TIME), row(1, TIME, [3, 3, 5], LATER))

    publish(stream, Session(1, at(TIME), (3,)))

    assert plays_counted(stream, 1, 3) == before + 2
    assert stream.query("select confirmed_by from stream.sessions") == [(None,)]
    assert counted(stream) == [(0, 0, 0)]


def test_snapshot_wins_where_plays_differ(stream: Stream) -> None:
    before = plays_counted(stream, 1, 3)
    send(stream, row(1, TIME, [3, 3, 3]))

    publish(stream, Session(1, at(TIME), (3,)))

    assert plays_counted(stream, 1, 3) == before + 1
    assert counted(stream) == [(1, 1, 0)]


def test_session_streamed_after_its_snapshot_is_confirmed_at_once(stream: Stream) -> None:
    publish(stream, Session(1, at(TIME), (3,)))
    before = plays_counted(stream, 1, 3)

    send(stream, row(1, TIME, [3]))

    assert plays_counted(stream, 1, 3) == before
    assert stream.query("select confirmed_by is not null from stream.sessions") == [(True,)]


def test_session_stored_while_its_snapshot_is_published_is_confirmed_after_that(stream: Stream) -> None:
    before = plays_counted(stream, 1, 3)
    with stream.consuming():
        with connect(stream.place.database) as nightly, nightly.transaction():
            insert_sessions(nightly, [Session(1, at(TIME), (3, 3))])
            reconcile_streamed_sessions(nightly, BATCH, unconfirmed_days=3, now=utc_now())
            nightly.execute(
                with_time(
                    "insert into ops.batches (batch_id, endpoint, day, revision, source, status, started_at)"
                    " values ('listen_history-2024-04-01', 'listen_history', '2024-04-01', 1, '', 'published', :now)"
                )
            )
            stream.send(row(1, TIME, [3, 3]))
            stream.wait_for(1)
            assert stream.query("select confirmed_by from stream.sessions") == [(None,)]
        until(lambda: stream.query("select confirmed_by is null from stream.sessions") == [(False,)], "confirmed")

    with connect(stream.place.database) as connection:
        rebuild_play_counts(connection)
    assert plays_counted(stream, 1, 3) == before + 2


def test_ingest_does_not_wait_for_sessions_that_the_consumer_has_locked(stream: Stream) -> None:
    """Waiting could be a deadlock, and Postgres could choose the ingest as its victim."""
    send(stream, row(1, TIME, [3]), row(2, TIME, [4]), row(3, TIME, [5]))
    with connect(stream.place.database) as consumer, consumer.transaction():
        consumer.execute("select from stream.sessions where user_id <> 2 for update")
        publish(stream, *(Session(user, at(TIME), (3,)) for user in (1, 2)), lock_timeout="1s")
        assert counted(stream) == [(1, 1, 0)]
        publish(stream, days=1, hours_later=25, lock_timeout="1s")

    confirmed = "select user_id, confirmed_by is not null from stream.sessions order by user_id"
    assert stream.query(confirmed) == [(1, False), (3, False)]
    with stream.consuming():
        until(lambda: stream.query(confirmed) == [(1, True), (3, False)], "confirmed")


def test_repeated_message_does_not_wait_for_the_ingest(stream: Stream) -> None:
    send(stream, row(1, TIME, [3, 5], LATER))
    with stream.consuming():
        with connect(stream.place.database) as nightly, nightly.transaction():
            nightly.execute("select from stream.sessions for update")
            stream.send(row(1, TIME, [3, 5], LATER), row(1, TIME, [3], TIME), row(2, TIME, [4]))
            stream.wait_for(4)
        assert [session[3] for session in stream.sessions()] == [[3, 5], [4]]
        assert sum(batch.unchanged for batch in stream.batches) == 2


def test_confirmed_sessions_are_deleted_some_at_a_time(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciliation, "_SESSIONS_PER_DELETE", 2)
    send(stream, *(row(user, TIME, [3]) for user in range(1, 8)))
    publish(stream, *(Session(user, at(TIME), (3,)) for user in range(1, 7)))
    with (
        connect(stream.place.database) as consumer,
        consumer.transaction(),
        connect(stream.place.database) as nightly,
    ):
        consumer.execute("select from stream.sessions where user_id = 2 for update")
        assert delete_confirmed_sessions(nightly, confirmed_days=1, now=utc_now()) == 0
        later = utc_now() + timedelta(days=2)
        assert delete_confirmed_sessions(nightly, confirmed_days=1, now=later) == 5

    assert [session[0] for session in stream.sessions()] == [2, 7]


@pytest.fixture
def waiting(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> Iterator[WaitingSessions]:
    """Changes two sessions at each call, and fails if it waits for a lock."""
    monkeypatch.setattr(waiting_sessions, "_MAX_SESSIONS", 2)
    settings = stream.settings.model_copy(update={"stream_parked_days": 1e-9})
    url = in_role(stream.place.database, STREAM)
    with connect(url, settings={"lock_timeout": "1s"}) as connection:
        yield WaitingSessions(settings, connection, utc_now, StreamMetrics())


def refresh_while_locked(stream: Stream, waiting: WaitingSessions, user_id: int, count: str) -> list[int]:
    """Refresh four times while another consumer has locked a user's sessions. Returns the count after each."""
    counts = []
    with connect(stream.place.database) as consumer, consumer.transaction():
        consumer.execute("select from stream.sessions where user_id = %s for update", [user_id])
        for _ in range(4):
            waiting.refresh()
            counts += [number for (number,) in stream.query(count)]
    return counts


def publish_empty(stream: Stream, endpoint: str) -> None:
    with connect(stream.place.database) as connection:
        connection.execute(
            with_time(
                "insert into ops.batches (batch_id, endpoint, day, revision, source, status, started_at)"
                " values (%(endpoint)s || '-2024-04-01', %(endpoint)s, '2024-04-01', 1, '', 'published', :now)"
            ),
            {"endpoint": endpoint},
        )


def test_published_sessions_are_confirmed_some_at_a_time_without_waiting(
    stream: Stream, waiting: WaitingSessions
) -> None:
    send(stream, *(row(user, TIME, [3]) for user in range(1, 7)))
    with connect(stream.place.database) as connection:
        add_sessions(connection, [Session(user, at(TIME), (3,) if user < 5 else (3, 3)) for user in range(1, 6)])
    confirmed = "select count(*) from stream.sessions where confirmed_by is not null"

    assert refresh_while_locked(stream, waiting, 2, confirmed) == [2, 4, 4, 4]

    publish_empty(stream, "tracks")
    waiting.refresh()
    assert stream.query(confirmed) == [(4,)], "only a batch of sessions confirms"
    publish_empty(stream, "listen_history")
    waiting.refresh()
    assert stream.query(confirmed) == [(5,)]
    counts = stream.query("select sum(confirmed), sum(differing), sum(dropped) from stream.reconciliations")
    assert counts == [(5, 1, 0)]


def test_parked_sessions_are_released_some_at_a_time_without_waiting(stream: Stream, waiting: WaitingSessions) -> None:
    send(stream, *(row(user, TIME, [3]) for user in range(1, 6)))
    with connect(stream.place.database) as connection:
        connection.execute("update stream.sessions set is_parked = true")
    released = "select count(*) from stream.sessions where not is_parked"

    assert refresh_while_locked(stream, waiting, 2, released) == [2, 4, 4, 4]

    publish_empty(stream, "users")
    waiting.refresh()
    assert stream.query(released) == [(5,)]


def test_overdue_sessions_are_rejected_some_at_a_time_without_waiting(stream: Stream, waiting: WaitingSessions) -> None:
    send(stream, *(row(user, TIME, [999]) for user in range(1, 6)))

    assert refresh_while_locked(stream, waiting, 2, "select count(*) from stream.sessions") == [3, 1, 1, 1]

    assert stream.query("select count(*) from ops.rejected_rows where topic is not null") == [(4,)]


def test_session_that_no_snapshot_has_is_dropped_and_counted(stream: Stream) -> None:
    send(stream, row(1, TIME, [3]))

    publish(stream, hours_later=23, days=1)
    assert len(stream.sessions()) == 1
    publish(stream, hours_later=25, days=1)

    assert stream.sessions() == []
    assert counted(stream) == [(0, 0, 0), (0, 0, 1)]


def test_parked_session_counts_once_its_track_is_published(stream: Stream) -> None:
    new_track = 999
    with stream.consuming():
        before = plays_counted(stream, 1, 3)
        stream.send(row(1, TIME, [new_track, 3]))
        stream.wait_for(1)
        assert stream.query("select is_parked from stream.sessions") == [(True,)]
        assert plays_counted(stream, 1, 3) == before + 1

        stream.query(
            "with track as (insert into warehouse.tracks select 999, name, artist, songwriters, duration,"
            " duration_seconds, genres, album, created_at, updated_at, null, row_hash, batch_id"
            " from warehouse.tracks limit 1 returning 1),"
            " batch as (insert into ops.batches (batch_id, endpoint, day, revision, source, status, started_at)"
            " values ('tracks-2024-04-01', 'tracks', '2024-04-01', 1, 'http://source', 'published', '2024-04-01')"
            " returning 1) select 1 from track, batch"
        )
        until(lambda: stream.query("select is_parked from stream.sessions") == [(False,)], "the session is released")

    assert (plays_counted(stream, 1, 3), plays_counted(stream, 1, new_track)) == (before + 1, 1)


def test_parked_session_that_waited_too_long_is_rejected_with_its_message(stream: Stream) -> None:
    session = row(1, TIME, [999, 3])
    send(stream, session)
    publish(stream, hours_later=25, days=1)
    assert stream.query("select is_parked from stream.sessions") == [(True,)], "only the consumer rejects parked ones"

    with stream.consuming(stream_parked_days=1e-9):
        until(lambda: not stream.sessions(), "the session is rejected")

    rejected = stream.query(
        "select endpoint, raw_json, reason, split_part(topic, ' ', 1), \"offset\" from ops.rejected_rows"
        " where topic is not null"
    )
    assert [(endpoint, topic, offset) for endpoint, _, _, topic, offset in rejected] == [
        ("listen_history", stream.topic, 0)
    ]
    times = dict.fromkeys(("created_at", "updated_at"), f"{TIME}.000000")
    assert json.loads(rejected[0][1]) == session | times
    assert "STREAM_PARKED_DAYS" in rejected[0][2]


def test_parked_session_that_the_warehouse_has_is_not_rejected(stream: Stream) -> None:
    send(stream, row(1, TIME, [999, 3]))
    publish(stream, Session(1, at(TIME), (3,)))

    with stream.consuming(stream_parked_days=1e-9):
        time.sleep(2)

    assert stream.query("select confirmed_by, is_parked from stream.sessions") == [(BATCH, True)]
    assert stream.query("select count(*) from ops.rejected_rows where topic is not null") == [(0,)]


def test_parked_session_is_released_without_fresh_recommendations(unpublished_stream: Stream) -> None:
    """Before the first publication, and with STREAM_FRESH=false."""
    stream = unpublished_stream
    for fresh in (True, False):
        created_at = f"2024-04-01T1{int(fresh)}:00:00"
        send(stream, row(1, created_at, [3]))
        stream.query("with parked as (update stream.sessions set is_parked = true returning 1) select 1 from parked")
        with stream.consuming(stream_fresh=fresh):
            until(lambda: stream.query("select bool_or(is_parked) from stream.sessions") == [(False,)], "released")


def test_session_without_plays_does_not_differ(stream: Stream) -> None:
    send(stream, row(1, TIME, []))

    publish(stream, Session(1, at(TIME), ()))

    assert counted(stream) == [(1, 0, 0)]
