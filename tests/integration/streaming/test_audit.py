"""The hourly audit of streamed sessions and fresh recommendations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from core.audits import AuditReport
from core.clock import utc_now
from core.database import Connection, connect, take_warehouse_lock
from core.endpoints import FRESH_RECOMMENDATIONS, STREAMED_SESSIONS, AuditedTable
from core.errors import StreamAuditFailed
from core.roles import RECOMMENDER, in_role
from erasure import suppression_list
from erasure.steps import begin_erasure
from erasure.subject_matching import UserIdentity
from expectations.data_docs import docs_page
from flows import audit_stream
from flows.audit_stream import StreamAudit
from flows.failures import STREAM_AUDIT_FAILED
from notifications.notification import Notification
from streaming import audit
from tests.conftest import with_time
from tests.integration.streaming.conftest import Stream, at, refresh, row, until
from tests.integration.streaming.test_consuming import fresh
from tests.integration.streaming.test_fresh_recommendations import add_streamed_sessions_to_warehouse
from tests.integration.streaming.test_history import history
from tests.object_stores import Bucket
from tests.warehouse_data import Session, add_sessions, mark_removed

TIME = "2024-04-01T10:00:00"


def listen(stream: Stream, users: Sequence[int]) -> None:
    """Let users play a track each, and wait for their recommendations."""
    with stream.consuming():
        stream.send(*(row(user, TIME, [2 + user % 2]) for user in users))
        until(lambda: set(fresh(stream)) >= set(users), "fresh recommendations")


def change(stream: Stream, statement: str, *values: Any) -> None:
    with connect(stream.place.database) as connection:
        connection.execute(with_time(statement), values)


def failed_rules(reports: Sequence[AuditReport]) -> set[str]:
    return {result.expectation for report in reports for result in report.results if not result.success}


def staged(stream: Stream, table: AuditedTable = FRESH_RECOMMENDATIONS, **settings: Any) -> list[dict[str, Any]]:
    """Return the rows that the audit stages, read with the role of the flow."""
    with connect(in_role(stream.place.database, RECOMMENDER)) as connection:
        audit.stage_stream(
            connection, stream.settings.model_copy(update=settings), utc_now() - timedelta(days=1), utc_now()
        )
        cursor = connection.execute(f"select * from staging.{table} order by 1")
        names = [column.name for column in cursor.description or ()]
        rows = [dict(zip(names, values, strict=True)) for values in cursor]
        audit.drop_staged(connection)
    return rows


def figures(stream: Stream, column: str) -> dict[int, Any]:
    """A column of the staged lists, by user."""
    return {list_["user_id"]: list_[column] for list_ in staged(stream)}


@pytest.fixture
def notified(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, Notification]]:
    """Each notification: event, resource, content."""
    sent: list[tuple[str, str, Notification]] = []
    monkeypatch.setattr("flows.failures.notify", lambda *parts: sent.append(parts))
    return sent


@pytest.mark.usefixtures("prefect_server")
class TestFlow:
    """The whole flow, with Great Expectations."""

    def test_without_streaming_it_ends_at_once(self, stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("STREAM_BOOTSTRAP_SERVERS", "")
        monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
        assert audit_stream.audit_stream() == StreamAudit("off")

    def test_sessions_of_the_consumer_pass_beside_an_ingest(self, stream: Stream) -> None:
        listen(stream, range(1, 9))
        with stream.consuming():
            stream.send(row(999, TIME, [3]), row(1, "2024-04-01T11:00:00", [12345]))
            stream.wait_for(10)
        with connect(stream.place.database) as ingest:
            take_warehouse_lock(ingest, 0)
            result = audit_stream.audit_stream()

        assert failed_rules(result.reports) == set()
        assert (result.status, result.sessions, result.lists, result.deleted_lists) == ("passed", 10, 8, 0)
        assert set(fresh(stream)) == set(range(1, 9))
        assert stream.query("select flow, outcome from ops.runs") == [("audit_stream", "passed")]
        assert stream.query("select count(*) from stream.expectation_results where not success") == [(0,)]
        docs = [stream.place.data_dir / "data_docs" / docs_page(report.batch_id) for report in result.reports]
        assert all(page.exists() for page in docs)
        assert stream.query(
            "select count(*) from pg_tables where schemaname = 'staging' and tablename ~ 'stream|fresh'"
        )[0] == (0,)

    def test_failed_lists_are_deleted_while_data_docs_cannot_be_reached(
        self, stream: Stream, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bucket.set_environment(monkeypatch, "DATA_DOCS_URL", endpoint="http://127.0.0.1:1")
        monkeypatch.setenv("GIVE_UP_AFTER_SECONDS", "1")
        listen(stream, range(1, 4))
        change(stream, "update ml.fresh_recommendations set scores[1] = 'NaN' where user_id = 3")

        with pytest.raises(StreamAuditFailed):
            audit_stream.audit_stream()
        assert set(fresh(stream)) == {1, 2}

    def test_failed_lists_are_deleted_recorded_and_reported(
        self, stream: Stream, notified: list[tuple[str, str, Notification]]
    ) -> None:
        listen(stream, range(1, 6))
        change(
            stream,
            "update ml.fresh_recommendations set track_ids[2] = track_ids[1] where user_id = 2",
        )
        change(stream, "update ml.fresh_recommendations set scores[1] = 'NaN' where user_id = 3")

        with pytest.raises(StreamAuditFailed) as failed:
            audit_stream.audit_stream()

        assert set(fresh(stream)) == {1, 4, 5}
        assert failed.value.deleted_lists == 2
        assert stream.query("select user_id, reason from stream.failed_recommendations order by 1") == [
            (2, "the audit failed: track_is_unique"),
            (3, "the audit failed: score_is_finite"),
        ]
        assert sorted((user, tracks) for _, user, tracks in history(stream)[-2:]) == [(2, []), (3, [])]
        assert stream.query("select outcome from ops.runs") == [("failed",)]
        [(event, resource, notification)] = notified
        assert event == STREAM_AUDIT_FAILED
        assert resource == "moovitamix.stream-audit.fresh_recommendations.track_is_unique+score_is_finite"
        assert "2 failed lists were deleted" in notification.body
        (audit_id,) = stream.query("select audit_id from stream.expectation_results where not success limit 1")[0]
        page = (stream.place.data_dir / "data_docs" / docs_page(audit_id)).read_text()
        assert "Fails the audit" in page

        # No list remains that could fail. The consumer recommends again after the user's next session.
        assert audit_stream.audit_stream().status == "passed"
        with stream.consuming():
            stream.send(row(2, "2024-04-01T12:00:00", [4]))
            until(lambda: 2 in fresh(stream), "fresh recommendations")

    def test_failed_sessions_stay_and_are_reported(
        self, stream: Stream, notified: list[tuple[str, str, Notification]]
    ) -> None:
        listen(stream, range(1, 6))
        sessions = {
            1: "received_at = created_at - interval '6 minutes'",
            2: "items = '{12345}'",
            3: "items = '{}'",
            4: "updated_at = created_at - interval '1 second'",
            5: "user_id = 999",
        }
        for user, assignment in sessions.items():
            change(stream, f"update stream.sessions set {assignment} where user_id = %s", user)
        change(stream, "update stream.sessions set created_at = :now, received_at = :now - interval '6 minutes'"
                       " where user_id = 1")  # fmt: skip

        with pytest.raises(StreamAuditFailed) as failed:
            audit_stream.audit_stream()

        assert len(stream.sessions()) == 5
        assert set(fresh(stream)) == {1, 2, 3, 4, 5}
        [audit_of_sessions] = failed.value.failed
        assert {
            result.expectation: result.unexpected_count for result in audit_of_sessions.results if result.blocks
        } == {
            "session_is_not_in_the_future": 1,
            "user_is_published": 1,
            "tracks_are_published": 1,
        }
        warnings = {r.expectation for r in audit_of_sessions.results if not (r.success or r.blocks)}
        assert warnings == {"updated_after_created", "session_has_plays"}
        assert [notification.key.split(":")[1] for _, _, notification in notified] == ["streamed_sessions"]

    def test_every_rule_can_fail(self, stream: Stream) -> None:
        break_lists(stream)
        change(stream, "update stream.sessions set items = array_fill(3, array[501]) where user_id = 1")
        change(
            stream,
            "update stream.sessions set items = '{}', updated_at = created_at - interval '1 s' where user_id = 2",
        )
        change(stream, "update stream.sessions set user_id = 999 where user_id = 3")
        change(stream, "update stream.sessions set items = '{12345}' where user_id = 4")
        change(
            stream,
            "insert into stream.sessions"
            ' (user_id, created_at, updated_at, items, received_at, topic, partition, "offset")'
            " select 5, at, at, '{3}', :now, 't', 0, 0 from generate_series(1, 201) as n,"
            " lateral (select timestamptz '2024-04-02' + n * interval '1 minute' as at) as times",
        )
        change(stream, "update stream.sessions set received_at = :now - interval '5 days' where user_id = 6")
        change(
            stream, "update stream.minutes set messages = 100, rejected = 6, parked = 6, lists = 100, failed_lists = 2"
        )
        change(
            stream, "insert into ml.fresh_recommendations select %s, 1, '{2}', '{1}', 1, :now", refresh(stream.place)
        )
        change(stream, "update ml.live_publications set live_from = :now - interval '6 minutes'")
        change(stream, "delete from ml.live_publications where live_id > 1")

        with pytest.raises(StreamAuditFailed) as failed:
            audit_stream.audit_stream()

        passed = {result.expectation for report in failed.value.failed for result in report.results if result.success}
        assert passed == {"sessions_are_profiled", "lists_are_profiled"}
        assert fresh(stream) == {}

    def test_only_the_newest_audit_that_passed_stays_in_data_docs(self, stream: Stream, tmp_path: Path) -> None:
        listen(stream, [1])
        audit_stream.audit_stream()
        clock_file = tmp_path / "clock"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CLOCK_FILE", str(clock_file))
            clock_file.write_text(f"{utc_now() + timedelta(minutes=3):%Y-%m-%dT%H:%M}")
            newest = audit_stream.audit_stream()

        pages = {path.stem for path in (stream.place.data_dir / "data_docs" / "validations").glob("*.html")}
        assert pages == {report.batch_id for report in newest.reports}

    def test_command_prints_json(self, stream: Stream, capsys: pytest.CaptureFixture[str]) -> None:
        listen(stream, [1])
        assert audit_stream.main(["--hours", "1", "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert (document["flow"], document["result"]["status"]) == ("audit_stream", "passed")
        assert document["result"]["sessions"] == 1


def test_audit_begins_at_the_end_of_the_last_audit_and_reads_at_most_a_day(stream: Stream) -> None:
    now = utc_now()
    with connect(stream.place.database) as connection:
        assert audit.find_start(connection, now) == now - timedelta(days=1)
        for hours in (30, 2, -5):
            connection.execute(
                "insert into stream.expectation_results"
                " (audit_id, expectation, severity, success, description, audited_at)"
                " values (%s, 'x', 'warning', true, '', %s)",
                [f"a{hours}", now - timedelta(hours=hours)],
            )
        assert audit.find_start(connection, now) == now - timedelta(hours=2, minutes=5)


def break_lists(stream: Stream) -> dict[str, int]:
    """Give users a fault each. Returns the column that counts it, and the user."""
    listen(stream, range(1, 13))
    played = stream.query("select track_id from mart.user_track_plays where user_id = 4 limit 1")[0][0]
    faults = {
        "tracks_without_score": (1, "scores = scores[2:]"),
        "surplus_tracks": (2, "track_ids = track_ids || 79::bigint, scores = scores || -1e9::double precision"),
        "missing_tracks": (3, "track_ids = track_ids[2:], scores = scores[2:]"),
        "seen_tracks": (4, f"track_ids[1] = {played}"),
        "repeated_tracks": (5, "track_ids[2] = track_ids[1]"),
        "unknown_tracks": (6, "track_ids[1] = 12345"),
        "non_finite_scores": (7, "scores[10] = '-Infinity'"),
        "rising_scores": (8, "scores[2] = scores[1] + 1"),
    }
    for user, assignment in faults.values():
        change(stream, f"update ml.fresh_recommendations set {assignment} where user_id = %s", user)
    change(stream, "update ml.fresh_recommendations set as_of = :now + interval '10 minutes' where user_id = 9")
    change(stream, "update stream.sessions set created_at = :now + interval '10 minutes' where user_id = 10")
    with connect(stream.place.database) as connection:
        mark_removed(connection, "users", 11)
        erase(connection, 12)
        connection.execute(with_time("update ops.suppressed_listeners set erased_at = :now - interval '2 hours'"))
    return {column: user for column, (user, _) in faults.items()} | {"user_is_unknown": 11, "user_is_erased": 12}


def erase(connection: Connection, user_id: int) -> None:
    """Begin to erase a user: nothing is deleted yet."""
    suppressed = suppression_list.read_database(connection)
    begin_erasure(connection, UserIdentity(user_id), suppressed, reason="a test", requested_by="a test", now=utc_now())


def test_faults_of_a_list_are_counted(stream: Stream) -> None:
    faults = break_lists(stream)

    lists = {list_["user_id"]: list_ for list_ in staged(stream)}

    for column, faulty in faults.items():
        assert {user for user, list_ in lists.items() if list_[column]} == {faulty}, column
    assert {user for user, list_ in lists.items() if list_["seconds_ahead"] > 300} == {9}
    assert {user for user, list_ in lists.items() if list_["seconds_before_session"] > 300} == {10}
    assert len(lists) == 12


def test_lists_from_before_a_batch_are_not_compared_with_its_plays(stream: Stream) -> None:
    """The batch published a session that was never streamed, and a track of a list was removed."""
    listen(stream, [1])
    track = fresh(stream)[1][0]
    change(
        stream,
        "insert into mart.user_track_plays values (1, %s, 1, :now, :now)",
        track,
    )
    change(stream, "update warehouse.tracks set removed_at = :now where id = %s", fresh(stream)[1][1])
    assert (figures(stream, "seen_tracks"), figures(stream, "unknown_tracks")) == ({1: 1}, {1: 1})

    change(stream, "update ops.batches set finished_at = :now where endpoint = 'listen_history'")

    assert (figures(stream, "seen_tracks"), figures(stream, "unknown_tracks")) == ({1: None}, {1: None})
    assert figures(stream, "repeated_tracks") == {1: 0}


def test_list_is_compared_with_the_sessions_that_it_includes(stream: Stream) -> None:
    """The consumer stores a session, and ends before it recommends."""
    listen(stream, [1])
    track = fresh(stream)[1][0]
    change(
        stream,
        'insert into stream.sessions (user_id, created_at, updated_at, items, received_at, topic, partition, "offset")'
        " values (1, :now, :now, array[%s::bigint], :now, 't', 0, 99)",
        track,
    )
    assert figures(stream, "seen_tracks") == {1: 0}
    assert figures(stream, "missing_tracks") == {1: 0}

    change(stream, "update ml.fresh_recommendations set change_id = 1000000")
    assert figures(stream, "seen_tracks") == {1: 1}


def test_published_tracks_of_parked_sessions_are_compared(stream: Stream) -> None:
    with stream.consuming():
        stream.send(row(1, TIME, [*range(2, 76), 999]))
        until(lambda: fresh(stream), "fresh recommendations")
    assert stream.query("select is_parked from stream.sessions") == [(True,)]
    assert (figures(stream, "seen_tracks"), figures(stream, "missing_tracks")) == ({1: 0}, {1: 0})

    change(stream, "update ml.fresh_recommendations set track_ids[1] = 2")
    assert figures(stream, "seen_tracks") == {1: 1}


def test_streamed_version_replaces_the_published_version(stream: Stream) -> None:
    """The published version of a session has a track that its newer, streamed version does not have."""
    listen(stream, [1])
    track = fresh(stream)[1][0]
    with connect(stream.place.database) as connection:
        add_sessions(connection, [Session(1, at(TIME), (track,))])
    assert figures(stream, "seen_tracks") == {1: 0}


def test_played_tracks_may_be_recommended_by_setting(stream: Stream) -> None:
    listen(stream, [1])
    change(stream, "insert into mart.user_track_plays values (1, %s, 1, :now, :now)", fresh(stream)[1][0])
    assert [list_["seen_tracks"] for list_ in staged(stream, recommend_played=True)] == [None]


def test_lists_of_users_who_played_almost_everything_are_short(stream: Stream) -> None:
    """They have all tracks that are left."""
    with stream.consuming():
        stream.send(row(1, TIME, list(range(2, 76))))
        until(lambda: fresh(stream), "fresh recommendations")
    [list_] = staged(stream)
    assert list_["tracks"] < 10
    assert list_["missing_tracks"] == 0


def test_list_that_was_replaced_since_its_audit_stays(stream: Stream) -> None:
    listen(stream, [1, 2])
    with connect(in_role(stream.place.database, RECOMMENDER)) as connection:
        audit.stage_stream(connection, stream.settings, utc_now() - timedelta(hours=1), utc_now())
        with stream.consuming():
            before = fresh(stream)[1]
            stream.send(row(1, "2024-04-01T11:00:00", [5]))
            until(lambda: fresh(stream)[1] != before, "newer fresh recommendations")
        deleted = audit.delete_failed_lists(connection, {1: "a test", 2: "a test"}, utc_now())
        audit.drop_staged(connection)

    assert deleted == 1
    assert set(fresh(stream)) == {1}


def test_rows_of_a_user_who_is_erased_meanwhile_are_no_failure(stream: Stream) -> None:
    """The erasure waits for an ingest. Rows stored after it began, and rows that remain an hour later, fail."""
    listen(stream, [1, 2])
    with connect(stream.place.database) as connection:
        erase(connection, 1)
    assert figures(stream, "user_is_erased") == {1: 0, 2: 0}

    change(stream, "update stream.sessions set received_at = :now + interval '1 second' where user_id = 1")
    assert [session["user_is_erased"] for session in staged(stream, STREAMED_SESSIONS)] == [1, 0]

    change(stream, "update ops.suppressed_listeners set erased_at = :now - interval '2 hours'")
    assert figures(stream, "user_is_erased") == {1: 1, 2: 0}


def test_only_lists_of_the_live_publication_are_audited(stream: Stream) -> None:
    listen(stream, [1])
    add_streamed_sessions_to_warehouse(stream)
    refresh(stream.place)
    assert staged(stream) == []


def test_profiles_count_messages_lists_and_overdue_work(stream: Stream) -> None:
    listen(stream, [1])
    minute = (
        "insert into stream.minutes (minute, consumer_id, topic, messages, plays, rejected, parked, lists,"
        " failed_lists, lag_seconds, commit_ages, list_ages, written_at)"
        " values (date_trunc('minute', :now), gen_random_uuid(), 't', %s, 0, %s, %s, %s, %s, 0, '{}', '{}', :now)"
    )

    def profile(table: AuditedTable) -> dict[str, Any]:
        return staged(stream, audit.profile_table(table))[0]  # type: ignore[arg-type]

    change(stream, "delete from stream.minutes")
    change(stream, minute, 99, 9, 9, 60, 39)
    assert profile(STREAMED_SESSIONS)["rejected_share"] is None
    assert profile(FRESH_RECOMMENDATIONS)["failed_share"] is None
    change(stream, minute, 101, 1, 1, 140, 1)
    change(stream, "update stream.sessions set received_at = :now - interval '5 days'")
    sessions = profile(STREAMED_SESSIONS)
    assert (sessions["rejected_share"], sessions["parked_share"]) == (0.05, 0.05)
    assert sessions["days_overdue"] == pytest.approx(2, abs=0.01)
    assert profile(FRESH_RECOMMENDATIONS)["failed_share"] == pytest.approx(40 / 240)

    refresh(stream.place)
    assert profile(FRESH_RECOMMENDATIONS)["lists_not_live"] == 0, "the consumer has a few minutes"
    change(stream, "update ml.live_publications set live_from = live_from - interval '6 minutes'")
    assert profile(FRESH_RECOMMENDATIONS)["lists_not_live"] == 1
