"""Sessions from a real broker to Postgres, each exactly once, and to recommendations."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from confluent_kafka import Producer

from core.clock import CLOCK_SKEW, utc_now
from core.database import connect
from core.roles import STREAM, in_role
from streaming.messages import Message
from streaming.offsets import Offsets
from streaming.store import SessionStore
from tests.integration.streaming.conftest import Stream, at, refresh, row, until
from tests.publications import live_recommendations
from tests.warehouse_data import Session, add_sessions, rebuild_play_counts, taste_group_of

TIME = "2024-04-01T10:00:00"


def fresh(stream: Stream) -> dict[int, list[int]]:
    """The fresh recommendations of the live publication."""
    return dict(
        stream.query(
            "select user_id, track_ids from ml.fresh_recommendations where publication_id ="
            " (select publication_id from ml.current_publication)"
        )
    )


def test_messages_that_the_broker_deleted_are_counted(stream: Stream, caplog: pytest.LogCaptureFixture) -> None:
    consumer = stream.consumer()
    with connect(in_role(stream.place.database, STREAM)) as connection:
        offsets = Offsets(connection, stream.topic, "some-id")
        store = SessionStore(connection, offsets)
        for partition in (0, 1):
            offsets.next_offset(partition)

        def consume(*positions: tuple[int, int]) -> int:
            messages = [
                Message(json.dumps(row(1, f"2024-04-01T0{offset % 10}:00:00", [3])).encode(), None, partition, offset)
                for partition, offset in positions
            ]
            stored = store.store(messages, utc_now())
            consumer._observe(stored)
            return stored.skipped

        # The first offset of a partition is arbitrary, and two partitions alternate.
        assert consume((0, 40), (1, 0), (0, 41), (1, 1)) == 0
        assert caplog.messages == []
        # Before the batch and within it.
        assert consume((1, 2), (0, 47), (0, 48), (0, 50)) == 6
        assert consume((0, 51), (1, 3)) == 0

    assert [message.split(":")[0] for message in caplog.messages] == [
        f"6 offsets of partition 0 of {stream.topic} (some-id) had no message"
    ]
    assert consumer.metrics.registry.get_sample_value("moovitamix_stream_skipped_total") == 6


def test_session_is_stored_once_however_often_it_is_sent(stream: Stream) -> None:
    session = row(1, TIME, [3, 5, 5])
    with stream.consuming():
        stream.send(session, session)
        stream.wait_for(2)
        stream.send(session)
        stream.wait_for(3)

    assert stream.sessions() == [(1, at(TIME), at(TIME), [3, 5, 5])]
    assert sum(batch.stored for batch in stream.batches) == 1
    assert sum(batch.unchanged for batch in stream.batches) == 2


def test_newest_version_of_a_session_is_stored_in_any_order(stream: Stream) -> None:
    versions = [row(1, TIME, [3, 5, 7][: number + 1], f"2024-04-01T10:0{number}:00") for number in range(3)]
    with stream.consuming():
        for version in (versions[1], versions[2], versions[0]):
            stream.send(version)
        stream.wait_for(3)

    assert stream.sessions() == [(1, at(TIME), at("2024-04-01T10:02:00"), [3, 5, 7])]


def test_invalid_messages_are_rejected_with_reason_and_offset(stream: Stream) -> None:
    values: list[Any] = [
        b"not JSON",
        b"",
        None,
        b"\xff\xfe",
        row(1, "2024-04-01", [3]),
        row(1, "2099-04-01T00:00:00", [3]),
        {"user_id": "1", "items": [3], "created_at": TIME, "updated_at": TIME},
        row(1, TIME, [3, "x", 5]),
    ]
    with stream.consuming():
        stream.send(*values, partition=0)
        stream.wait_for(len(values))

    rejected = stream.query(
        'select "offset", play_position, reason, raw_json from ops.rejected_rows where topic is not null order by 1'
    )
    assert [(offset, play) for offset, play, _, _ in rejected] == [*((offset, None) for offset in range(7)), (7, 2)]
    assert [reason for _, _, reason, _ in rejected][:3] == [
        "not readable as JSON text",
        "the message has no value",
        "the message has no value",
    ]
    assert rejected[0][3] == "not JSON"
    assert stream.sessions() == [(1, at(TIME), at(TIME), [3, 5])]
    assert stream.query("select partition, next_offset from stream.offsets order by 1") == [(0, 8)]


def test_text_that_postgres_cannot_store_is_rejected_or_escaped(stream: Stream) -> None:
    values: list[Any] = [
        b"\x00",
        b'{"user_id": 1, "items": [3], "created_at": "\\ud800", "updated_at": "\\u0000"}',
        b"\xed\xa0\x80",
        row(2**63, TIME, [3]),
        row(1, TIME, [2**63, 10**40, 3]),
        row(1, "0001-01-01T00:00:00", [3]),
        b'{"user_id": 1, "items": ' + b"[" * 100_000,
        b'{"\\ud800": "\\u0000", "user_id": "1"}',
    ]
    with stream.consuming():
        stream.send(*values, partition=0)
        stream.wait_for(len(values))

    rejected = stream.query('select distinct "offset" from ops.rejected_rows where topic is not null order by 1')
    assert [offset for (offset,) in rejected] == list(range(len(values)))
    assert stream.sessions() == [(1, at(TIME), at(TIME), [3])]


def test_many_invalid_plays_of_a_message_do_not_repeat_its_text(stream: Stream) -> None:
    with stream.consuming():
        stream.send(row(1, TIME, ["x"] * 100_000 + [3]))
        stream.wait_for(1)

    rows = stream.query(
        "select count(*), count(*) filter (where raw_json <> ''), max(play_position) from ops.rejected_rows"
        " where topic is not null"
    )
    assert rows == [(21, 1, 21)]
    assert stream.query("select reason from ops.rejected_rows where play_position = 21") == [
        ("this play and 99,979 after it are invalid",)
    ]
    assert stream.sessions() == [(1, at(TIME), at(TIME), [3])]


def test_message_of_5_mb_is_rejected_with_its_offset(stream: Stream) -> None:
    """The broker is set to accept it. Its topic, partition and offset find it there; its text is not stored."""
    stream.producer = Producer({"bootstrap.servers": f"127.0.0.1:{stream.port}", "message.max.bytes": 10_000_000})
    large = json.dumps(row(1, TIME, [3] * 1_700_000)).encode()
    assert len(large) > 5_000_000
    with stream.consuming():
        stream.send(row(1, TIME, [3]), large, row(2, TIME, [4]), partition=1)
        stream.wait_for(3)

    rejected = stream.query(
        'select topic, partition, "offset", raw_json, reason from ops.rejected_rows where topic is not null'
    )
    assert [(row[1:4]) for row in rejected] == [(1, 1, "")]
    assert rejected[0][0].startswith(f"{stream.topic} (")
    assert rejected[0][4] == f"the message has {len(large):,} bytes, more than 1,000,000"
    assert [session[0] for session in stream.sessions()] == [1, 2]


def test_session_of_last_year_counts_and_session_of_the_future_is_rejected(stream: Stream) -> None:
    """A play of last year is the user's oldest. The clock of a sender may be a little ahead."""
    now = at("2024-04-01T12:00:00")
    published = live_recommendations(stream.query)[1]
    with stream.consuming(lambda: now):
        stream.send(
            row(1, "2023-04-01T10:00:00", [published[0]]),
            row(1, (now + CLOCK_SKEW).isoformat(), [published[1]]),
            row(1, (now + CLOCK_SKEW + timedelta(seconds=1)).isoformat(), [published[2]]),
            row(1, "2024-04-01T11:00:00", [published[3]], (now + timedelta(days=2)).isoformat()),
            partition=0,
        )
        stream.wait_for(4)
        until(lambda: fresh(stream), "fresh recommendations")

    assert [session[1].year for session in stream.sessions()] == [2023, 2024]
    assert stream.query('select "offset" from ops.rejected_rows where topic is not null order by 1') == [(2,), (3,)]
    assert not set(published[:2]) & set(fresh(stream)[1])


def test_played_tracks_leave_the_fresh_recommendations_which_stay_in_the_camp(stream: Stream) -> None:
    user = 1
    published = live_recommendations(stream.query)[user]
    with stream.consuming():
        stream.send(row(user, TIME, published[:3]))
        until(lambda: fresh(stream), "fresh recommendations")

    recommended = fresh(stream)[user]
    assert len(recommended) == len(published)
    assert not set(recommended) & set(published[:3])
    assert {taste_group_of(track) for track in recommended[:5]} == {taste_group_of(user)}


def test_published_tracks_of_a_parked_session_leave_the_fresh_recommendations(stream: Stream) -> None:
    """A session grows by a track that is not published yet."""
    user, unknown_track = 1, 999
    published = live_recommendations(stream.query)[user]
    with stream.consuming():
        stream.send(row(user, TIME, published[:1]))
        until(lambda: fresh(stream), "fresh recommendations")
        stream.send(row(user, TIME, [*published[:2], unknown_track], "2024-04-01T10:05:00"))
        until(lambda: not set(fresh(stream)[user]) & set(published[:2]), "the grown session counts")
        assert stream.query("select is_parked from stream.sessions") == [(True,)]

        second = refresh(stream.place)
        until(lambda: fresh(stream), "fresh recommendations of the second publication")

    assert stream.query("select publication_id from ml.fresh_recommendations") == [(second,)]
    assert len(fresh(stream)[user]) == len(published)
    assert not set(fresh(stream)[user]) & {*published[:2], unknown_track}
    assert stream.query("select count(*) from stream.failed_recommendations") == [(0,)]


def test_session_of_an_unknown_user_waits_without_recommendations(stream: Stream) -> None:
    with stream.consuming():
        stream.send(row(999, TIME, [3]), row(1, TIME, [3]))
        until(lambda: fresh(stream), "fresh recommendations")

    assert set(fresh(stream)) == {1}
    assert stream.query("select count(*) from stream.failed_recommendations") == [(0,)]


def test_fresh_recommendations_equal_those_of_a_full_run(stream: Stream) -> None:
    with stream.consuming():
        sessions = [row(user, TIME, [2 + user % 2, 4 + user % 2, 6 + user % 2]) for user in range(1, 21)]
        stream.send(*sessions)
        until(lambda: len(fresh(stream)) == 20, "fresh recommendations")
    streamed = fresh(stream)
    with connect(stream.place.database) as connection:
        add_sessions(
            connection,
            [Session(user_id, created_at, tuple(items)) for user_id, created_at, _, items in stream.sessions()],
        )
        rebuild_play_counts(connection)

    refresh(stream.place)

    lists = live_recommendations(stream.query)
    assert {user: lists[user] for user in streamed} == streamed
