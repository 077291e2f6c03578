"""Which days are evaluated, in which order; none is evaluated twice or skipped."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from core.database import connect
from core.errors import DatabaseError
from recommender.monitoring import quality_monitor
from recommender.monitoring.quality_monitor import DueDay
from tests.conftest import temporary_database
from tests.integration.monitor.quiet import (
    QUIET_DAYS,
    UNLISTED_TRACK,
    USERS,
    days,
    play_day,
    recommended_tracks,
    start_day,
)
from tests.integration.monitor.world import (
    NOW,
    RULES,
    Connection,
    add_plays,
    at,
    create_publication,
    day,
    evaluate_due_days,
    go_live,
    insert_batch,
    prune,
)


def monitor_rows(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """All rows that the monitor writes."""
    return {
        table: connection.execute(f"select * from ml.{table} order by 1, 2").fetchall()
        for table in ("quality_metrics", "alarms", "decisions")
    }


def due(connection: Connection) -> list[date]:
    return [due_day.day for due_day in quality_monitor.days_to_evaluate(connection, NOW)]


def verdicts(connection: Connection) -> dict[date, str]:
    rows = connection.execute("select day, verdict from ml.decisions where kind = 'day' order by decision_id")
    return dict(rows.fetchall())


def set_status(connection: Connection, number: int, status: str) -> None:
    connection.execute(
        "update ops.batches set status = %s where endpoint = 'listen_history' and day = %s", [status, day(number)]
    )


def test_finished_days_are_evaluated_in_order(quiet: Connection) -> None:
    assert [evaluation.quality.day for evaluation in evaluate_due_days(quiet)] == [
        day(number) for number in range(QUIET_DAYS)
    ]
    assert list(verdicts(quiet).values()) == ["warming-up"] * 4 + ["steady"] * 2


def test_no_day_is_due_before_the_first_publication_and_ingest(connection: Connection) -> None:
    assert evaluate_due_days(connection) == []
    go_live(connection, create_publication(connection, {1: [1]}), at(0, 0))
    assert evaluate_due_days(connection) == []
    add_plays(connection, (1, at(0), (1,)))
    assert evaluate_due_days(connection) == []
    insert_batch(connection, 1)
    assert [evaluation.quality.day for evaluation in evaluate_due_days(connection)] == [day(0)]


def test_a_second_run_changes_nothing(quiet: Connection) -> None:
    evaluate_due_days(quiet)
    before = monitor_rows(quiet)
    assert evaluate_due_days(quiet) == []
    assert monitor_rows(quiet) == before


def test_day_cannot_be_evaluated_twice(quiet: Connection) -> None:
    """A lock separates two monitors. Without it, the second would fail and write nothing."""
    first, *_ = quality_monitor.days_to_evaluate(quiet, NOW)
    quality_monitor.evaluate_day(quiet, first, RULES, NOW)
    before = monitor_rows(quiet)
    with pytest.raises(DatabaseError):
        quality_monitor.evaluate_day(quiet, first, RULES, NOW)
    assert monitor_rows(quiet) == before


def test_late_evaluation_gives_the_same_figures(
    quiet_database: str,
    postgres: str,
    quiet_template: str,
) -> None:
    """Compare three days without an ingest, followed by a full snapshot, with a daily ingest and monitor."""
    caught_up, day_by_day = {}, {}
    with connect(quiet_database) as late:
        evaluate_due_days(late)
        for number in range(QUIET_DAYS, QUIET_DAYS + 4):
            play_day(late, number, useful=True)
            add_plays(late, (1, at(number + 1, 0.5), (UNLISTED_TRACK,)))
        assert evaluate_due_days(late) == []
        insert_batch(late, QUIET_DAYS + 4)
        assert [evaluation.quality.day for evaluation in evaluate_due_days(late)] == [
            day(number) for number in range(6, 10)
        ]
        caught_up = monitor_rows(late)
    with temporary_database(postgres, quiet_template) as database, connect(database) as punctual:
        evaluate_due_days(punctual)
        for number in range(QUIET_DAYS, QUIET_DAYS + 4):
            days(punctual, number, 1, useful=True)
            assert [evaluation.quality.day for evaluation in evaluate_due_days(punctual)] == [day(number)]
        day_by_day = monitor_rows(punctual)
    assert caught_up == day_by_day
    assert len(caught_up["decisions"]) == 10


def test_day_is_due_after_the_next_ingest(quiet: Connection) -> None:
    """The snapshot of a day may still miss plays of the afternoon."""
    evaluate_due_days(quiet)
    play_day(quiet, QUIET_DAYS)
    assert due(quiet) == []
    insert_batch(quiet, QUIET_DAYS + 1)
    assert due(quiet) == [day(QUIET_DAYS)]


def test_day_with_a_blocked_batch_is_not_evaluated(quiet: Connection) -> None:
    """Half of day 6 is missing. The next ingest is blocked, and the following ingest publishes the day as it is."""
    evaluate_due_days(quiet)
    usual = quality_monitor.days_to_evaluate(quiet, NOW)
    play_day(quiet, 6, hits=False)
    start_day(quiet, 7, "blocked")
    assert usual == quality_monitor.days_to_evaluate(quiet, NOW) == []
    play_day(quiet, 7)
    start_day(quiet, 8)

    assert quality_monitor.days_to_evaluate(quiet, NOW) == [DueDay(day(6), blocked=True), DueDay(day(7), blocked=False)]
    outage, after = evaluate_due_days(quiet)

    assert (outage.verdict, outage.why) == (
        "not-judged",
        "not judged: the plays of this day did not pass their audit",
    )
    stored_metrics = quiet.execute(
        "select value, judged from ml.quality_metrics where metric = 'hit@20' and day = %s", [day(6)]
    )
    assert stored_metrics.fetchall() == [(0, False)]
    assert after.verdict == "steady"
    assert after.metric_statuses[0].batches == QUIET_DAYS + 1
    assert after.metric_statuses[0].statistic is not None and after.metric_statuses[0].statistic < 2


@pytest.mark.parametrize(
    ("attempts", "is_evaluated"),
    [
        (["blocked", "published"], True),
        (["blocked", "unchanged"], True),
        (["published", "blocked"], False),
        # An interrupted ingest does not unblock an earlier blocked batch.
        (["blocked", "failed"], False),
        (["blocked", "landed"], False),
        (["failed"], True),
        (["failed", "published"], True),
    ],
)
def test_last_audit_of_a_day_decides(attempts: list[str], is_evaluated: bool, quiet: Connection) -> None:
    evaluate_due_days(quiet)
    play_day(quiet, 6)
    for revision, status in enumerate(attempts, 1):
        insert_batch(quiet, 7, status, revision)
    add_plays(quiet, (1, at(7, 0.5), (UNLISTED_TRACK,)))
    start_day(quiet, 8)
    assert [due_day.blocked for due_day in quality_monitor.days_to_evaluate(quiet, NOW)] == [not is_evaluated, False]


def test_blocked_tracks_do_not_block_the_evaluation_of_plays(quiet: Connection) -> None:
    evaluate_due_days(quiet)
    days(quiet, 6, 1)
    quiet.execute(
        "insert into ops.batches (batch_id, endpoint, day, revision, source, status, started_at)"
        " values ('tracks', 'tracks', %s, 1, 'http://source', 'blocked', '2024-04-01')",
        [day(7)],
    )
    assert [due_day.blocked for due_day in quality_monitor.days_to_evaluate(quiet, NOW)] == [False]


def test_days_without_plays_are_recorded_and_do_not_count(quiet: Connection) -> None:
    evaluate_due_days(quiet)
    for number in (7, 8, 9):
        insert_batch(quiet, number)
    quiet.execute("update warehouse.listen_history set removed_at = '2024-04-01' where created_at >= %s", [at(6, 0)])
    start_day(quiet, 10)
    quiet_days = evaluate_due_days(quiet)
    assert [evaluation.verdict for evaluation in quiet_days] == ["not-judged"] * 4
    assert {evaluation.why for evaluation in quiet_days} == {
        "not judged: no user played anything while recommendations were live"
    }
    days(quiet, 10, 1)
    assert evaluate_due_days(quiet)[0].metric_statuses[0].batches == QUIET_DAYS + 1


def test_pruned_publication_gives_a_reason_and_no_metrics(quiet: Connection) -> None:
    evaluate_due_days(quiet)
    days(quiet, 6, 1)
    go_live(
        quiet,
        create_publication(quiet, {user: recommended_tracks(user) for user in USERS}, excludes_played=False),
        at(7, 1),
    )
    days(quiet, 7, 1)
    prune(quiet, 1)
    pruned, after = evaluate_due_days(quiet)
    assert (pruned.verdict, pruned.why) == (
        "not-judged",
        "not judged: the recommendations of this day were pruned; raise PUBLICATIONS_KEPT, "
        "or run the monitor every day",
    )
    assert after.verdict == "not-judged"  # user 1 started this day with the previous publication
    days(quiet, 8, 1)
    assert evaluate_due_days(quiet)[0].verdict == "steady"


@pytest.mark.parametrize("typo", [date(2062, 1, 1), date(9999, 12, 30)])
def test_batch_of_a_far_future_day_makes_no_day_due(typo: date, quiet: Connection) -> None:
    """After `--day 2062-01-01`, days are still evaluated only after they end."""
    evaluate_due_days(quiet)
    quiet.execute(
        "insert into ops.batches (batch_id, endpoint, day, revision, source, status, started_at)"
        " values ('typo', 'listen_history', %s, 1, 'http://source', 'published', '2024-04-01')",
        [typo],
    )
    assert due(quiet) == []  # only the night of day 6 is ingested
    days(quiet, 6, 1)
    assert due(quiet) == [day(6)]


def test_replay_of_an_old_day_changes_nothing(quiet: Connection) -> None:
    evaluate_due_days(quiet)
    insert_batch(quiet, 2, "published", revision=2)
    set_status(quiet, 3, "blocked")
    assert due(quiet) == []


def test_clock_ahead_does_not_change_due_days(quiet: Connection) -> None:
    evaluate_due_days(quiet, now=datetime(2031, 1, 1, tzinfo=UTC))
    days(quiet, 6, 2)
    assert due(quiet) == [day(6), day(7)]
    evaluate_due_days(quiet, now=NOW)
    assert list(verdicts(quiet)) == [day(number) for number in range(8)]
    assert due(quiet) == []


def test_days_wait_while_the_clock_is_behind(quiet: Connection) -> None:
    """Plays after now are ignored, and no day is over before today."""
    assert evaluate_due_days(quiet, now=datetime(2019, 1, 1, tzinfo=UTC)) == []
    assert [evaluation.quality.day for evaluation in evaluate_due_days(quiet, now=at(QUIET_DAYS, 1))] == [
        day(number) for number in range(6)
    ]


@pytest.mark.parametrize("hours", [30, 24 * 200])
def test_play_after_now_changes_no_verdict(quiet_database: str, postgres: str, quiet_template: str, hours: int) -> None:
    """A device clock is ahead, and ours was at the publication. The verdicts are those of correct clocks."""
    verdicts_by_clock = []
    for ahead in (False, True):
        with temporary_database(postgres, quiet_template) as database, connect(database) as connection:
            if ahead:
                add_plays(connection, (1, at(QUIET_DAYS, 1 + hours), (UNLISTED_TRACK,)))
                values = {"latest": at(QUIET_DAYS, hours)}
                connection.execute("update ml.live_publications set live_from = %(latest)s", values)
            for number in range(QUIET_DAYS, QUIET_DAYS + 3):
                evaluate_due_days(connection, now=at(number, 4))
                days(connection, number, 1)
            verdicts_by_clock.append(verdicts(connection))
    without, with_it = verdicts_by_clock
    # The publication time is unknown, so the publication counts from its last training play.
    assert with_it == {day(-1): "not-judged"} | without
    assert list(without) == [day(number) for number in range(QUIET_DAYS + 2)]


def test_first_day_is_that_of_the_first_publication_even_with_a_wrong_clock(connection: Connection) -> None:
    """The clock was in 1970 when the first publication went live, which learned from plays until day 2."""
    go_live(connection, create_publication(connection, {1: [1]}, data_as_of=at(2, 4)), at(-20_000))
    go_live(connection, create_publication(connection, {1: [1]}, data_as_of=at(3, 4)), at(3, 4))
    add_plays(connection, *((1, at(number), (1,)) for number in range(6)))
    insert_batch(connection, 5)
    assert due(connection) == [day(2), day(3), day(4)]


def test_small_days_are_merged(quiet: Connection) -> None:
    """A value needs 25 users: with ten a day, every third day."""
    rules = quality_monitor.MonitoringSettings(20, RULES.plays, RULES.useful, users=25)
    evaluations = evaluate_due_days(quiet, rules)
    assert [evaluation.verdict for evaluation in evaluations] == ["gathering", "gathering", "warming-up"] * 2
    assert [evaluation.metric_statuses[0].gathered for evaluation in evaluations] == [10, 20, 0, 10, 20, 0]
    ndcg = [evaluation.quality["ndcg@20"] for evaluation in evaluations]
    assert evaluations[2].metric_statuses[0].value == pytest.approx(
        sum(metric.value for metric in ndcg[:3] if metric) / 3
    )
    assert "ndcg@20: 20 of the 25 users that a verdict needs; the next day is added" in evaluations[1].why


def test_evaluation_of_a_day_is_recorded(quiet: Connection) -> None:
    *_, last = evaluate_due_days(quiet)
    ((why, figures),) = quiet.execute("select why, figures from ml.decisions where day = %s", [day(5)]).fetchall()
    assert why == last.why
    rows = quiet.execute(
        "select metric, value, users, lower, upper, publication_id, judged, measured_at from ml.quality_metrics"
        " where day = %s",
        [day(5)],
    ).fetchall()
    assert {row[0]: row[1] for row in rows} == figures["metrics"]
    assert {row[0] for row in rows} == {
        *("ndcg@20", "hit@20", "lift@20", "without_list", "new_tracks"),
        *("coverage@20", "novelty@20", "model_age_days"),
    }
    assert {row[5:] for row in rows} == {(1, True, NOW)}
    (ndcg,) = (row for row in rows if row[0] == "ndcg@20")
    assert ndcg[2] == len(USERS)
    assert ndcg[3] < ndcg[1] < ndcg[4]
    assert figures["watched"]["ndcg@20"]["statistic"] == last.metric_statuses[0].statistic


def test_failed_write_of_a_day_leaves_nothing(quiet: Connection, quiet_database: str) -> None:
    first, *_ = quality_monitor.days_to_evaluate(quiet, NOW)
    quiet.execute("alter table ml.decisions add constraint refused check (kind <> 'day') not valid")
    with pytest.raises(DatabaseError):
        quality_monitor.evaluate_day(quiet, first, RULES, NOW)
    assert monitor_rows(quiet) == {"quality_metrics": [], "alarms": [], "decisions": []}
    assert due(quiet)[0] == first.day
