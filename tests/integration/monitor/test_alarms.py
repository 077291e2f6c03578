"""Drift alarms: raised once, open until a training answers them, and the baseline afterwards."""

from __future__ import annotations

from datetime import date
from typing import Any

import psycopg
import pytest

from core.errors import DatabaseError
from recommender.evaluation.promotion import Decision
from recommender.models.recipe import Recipe
from recommender.monitoring import quality_monitor
from recommender.monitoring.quality_monitor import DayEvaluation, MonitoringSettings
from recommender.publishing import model_runs
from recommender.publishing.model_runs import TrainingOutcome
from tests.integration.monitor.quiet import (
    POPULAR_TRACK,
    QUIET_DAYS,
    UNLISTED_TRACK,
    USERS,
    days,
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
    insert_model_run,
)

# The cool-down is longer than the warm-up.
PATIENT = MonitoringSettings(RULES.k, RULES.plays, RULES.useful, RULES.users, cool_down_days=10)


def decide(connection: Connection, decision: Decision, cause: str = "degradation") -> int:
    """Record a training with this decision."""
    run = insert_model_run(connection, at(20), "running", cause)
    model_runs.record_outcome(connection, run, TrainingOutcome(Recipe("ease"), decision, "because"), NOW)
    return run


def alarms(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "select metric, day, answer, answered_after, model_run_id from ml.alarms order by alarm_id"
    ).fetchall()


def verdicts(evaluations: list[DayEvaluation]) -> list[str]:
    return [evaluation.verdict for evaluation in evaluations]


def fall(connection: Connection, *, useful: bool | None = None) -> DayEvaluation:
    """Quiet days, then two days without hits; the second raises an alarm."""
    days(connection, QUIET_DAYS, 2, hits=False, useful=useful)
    return evaluate_due_days(connection)[-1]


def test_fall_raises_one_alarm_with_its_figures(quiet: Connection) -> None:
    last = fall(quiet)

    (alarm,) = quality_monitor.open_alarms(quiet)
    (ndcg,) = (status for status in last.metric_statuses if status.metric == "ndcg@20")
    assert last.verdict == "alarm"
    assert (alarm.metric, alarm.day, alarm.publication_id) == ("ndcg@20", day(7), 1)
    assert (alarm.value, alarm.baseline, alarm.statistic) == (ndcg.value, ndcg.baseline, ndcg.statistic)
    assert alarm.value == 0
    assert alarm.baseline > 0.3
    assert alarm.statistic > RULES.plays.h
    assert f"ndcg@20 0.0000, baseline {alarm.baseline:.4f}: cumulative fall of {alarm.statistic:.1f} stand" in last.why


def test_one_bad_day_raises_no_alarm(quiet: Connection) -> None:
    days(quiet, QUIET_DAYS, 1, hits=False)
    days(quiet, QUIET_DAYS + 1, 2)
    assert "alarm" not in verdicts(evaluate_due_days(quiet))
    assert alarms(quiet) == []


def test_open_alarm_prevents_a_second_alarm_of_its_metric(quiet: Connection) -> None:
    fall(quiet)
    days(quiet, 8, 3, hits=False)
    unanswered = evaluate_due_days(quiet)
    assert verdicts(unanswered) == ["unanswered"] * 3
    assert "the previous alarm still waits for a training" in unanswered[0].why
    assert len(alarms(quiet)) == 1
    with pytest.raises(psycopg.errors.UniqueViolation):
        quiet.execute(
            "insert into ml.alarms (metric, day, value, baseline, statistic, publication_id, raised_at)"
            " select metric, day, value, baseline, statistic, publication_id, raised_at from ml.alarms"
        )


@pytest.mark.parametrize("decision", ["published", "fallback", "kept"])
def test_decided_training_answers_the_alarm(decision: Decision, quiet: Connection) -> None:
    fall(quiet)
    run = decide(quiet, decision)
    assert alarms(quiet) == [("ndcg@20", day(7), decision, day(7), run)]
    assert quality_monitor.open_alarms(quiet) == []
    rows = quiet.execute("select verdict, why, model_run_id from ml.decisions where kind = 'training'").fetchall()
    assert rows == [(decision, "because", run)]


@pytest.mark.parametrize("decision", ["blocked", "failed"])
def test_blocked_or_failed_training_leaves_the_alarm_open(decision: Decision, quiet: Connection) -> None:
    fall(quiet)
    decide(quiet, decision)
    assert len(quality_monitor.open_alarms(quiet)) == 1
    ((verdict,),) = quiet.execute("select verdict from ml.decisions where kind = 'training'").fetchall()
    assert verdict == decision


def test_alarm_raised_during_a_training_stays_open(quiet: Connection) -> None:
    run = insert_model_run(quiet, at(20), "running")
    fall(quiet)
    model_runs.record_outcome(quiet, run, TrainingOutcome(Recipe("ease"), "kept", "because"), NOW)
    assert len(quality_monitor.open_alarms(quiet)) == 1
    assert decide(quiet, "published") > run
    assert quality_monitor.open_alarms(quiet) == []


def test_alarm_of_a_day_after_the_training_data_stays_open(quiet: Connection) -> None:
    fall(quiet)
    run = insert_model_run(quiet, at(6), "running")
    model_runs.record_outcome(quiet, run, TrainingOutcome(Recipe("ease"), "kept", "because"), NOW)
    assert len(quality_monitor.open_alarms(quiet)) == 1


def test_killed_training_is_recorded_and_its_alarm_stays_open(quiet: Connection) -> None:
    fall(quiet)
    run = insert_model_run(quiet, at(20), "running")
    assert model_runs.close_abandoned_model_runs(quiet, NOW) == 1
    rows = quiet.execute("select verdict, model_run_id from ml.decisions where kind = 'training'").fetchall()
    assert rows == [("failed", run)]
    assert len(quality_monitor.open_alarms(quiet)) == 1


def test_answer_and_outcome_are_one_transaction(quiet: Connection) -> None:
    fall(quiet)
    run = insert_model_run(quiet, at(20), "running")
    quiet.execute("alter table ml.alarms add constraint refused check (answer is null) not valid")
    with pytest.raises(DatabaseError):
        model_runs.record_outcome(quiet, run, TrainingOutcome(Recipe("ease"), "kept", "because"), NOW)
    ((decision,),) = quiet.execute("select decision from ml.model_runs where model_run_id = %s", [run]).fetchall()
    assert decision == "running"
    assert quiet.execute("select from ml.decisions where kind = 'training'").fetchall() == []


def test_one_training_answers_alarms_of_two_metrics(quiet: Connection) -> None:
    days(quiet, QUIET_DAYS, 6, useful=True)
    days(quiet, QUIET_DAYS + 6, 1, hits=False, useful=False)
    last = evaluate_due_days(quiet)[-1]

    assert {status.metric for status in last.metric_statuses if status.verdict == "alarm"} == {"ndcg@20", "useful"}
    assert "ndcg@20 0.0000" in last.why
    assert "useful 0.0000" in last.why
    run = decide(quiet, "published")
    assert alarms(quiet) == [
        ("ndcg@20", day(12), "published", day(12), run),
        ("useful", day(12), "published", day(12), run),
    ]


def test_alarm_of_one_metric_allows_an_alarm_of_the_other(quiet: Connection) -> None:
    days(quiet, QUIET_DAYS, 6, useful=True)
    days(quiet, QUIET_DAYS + 6, 2, useful=False)
    assert [alarm.metric for alarm in _open_after(quiet)] == ["useful"]
    days(quiet, QUIET_DAYS + 8, 2, hits=False, useful=False)
    assert [alarm.metric for alarm in _open_after(quiet)] == ["useful", "ndcg@20"]


def test_baseline_restarts_after_an_answer(quiet: Connection) -> None:
    """Days like those of the alarm become the new baseline."""
    fall(quiet)
    decide(quiet, "published")
    days(quiet, 8, 7, hits=False)
    afterwards = evaluate_due_days(quiet)
    assert verdicts(afterwards) == ["warming-up"] * 4 + ["steady"] * 3
    assert [evaluation.metric_statuses[0].batches for evaluation in afterwards] == [1, 2, 3, 4, 5, 6, 7]
    assert afterwards[-1].metric_statuses[0].baseline == 0


def test_baseline_restarts_after_the_days_of_the_training(quiet: Connection) -> None:
    """Days during the training belong to the old baseline."""
    fall(quiet)
    days(quiet, 8, 2, hits=False)
    evaluate_due_days(quiet)
    decide(quiet, "published")
    assert [row[3] for row in alarms(quiet)] == [day(9)]
    days(quiet, 10, 1)
    assert evaluate_due_days(quiet)[0].metric_statuses[0].batches == 1


def test_kept_champion_raises_no_alarm_during_the_cool_down(quiet: Connection) -> None:
    """Kept on day 7 with a cool-down of ten days: days until 17 raise no alarm and do not count for the baseline."""
    fall(quiet)
    (alarm,) = quality_monitor.open_alarms(quiet)
    decide(quiet, "kept")
    days(quiet, 8, 20, hits=False)

    evaluations = evaluate_due_days(quiet, PATIENT)
    cooling, first, later_verdicts = evaluations[:10], evaluations[10], verdicts(evaluations[11:])

    assert verdicts(cooling) == ["cooling-down"] * 10
    assert "no alarm is raised up to 2024-04-18" in cooling[0].why
    assert (first.verdict, later_verdicts.count("alarm")) == ("steady", 1)  # the sum starts at zero
    usual = first.metric_statuses[0].baseline
    assert usual is not None and usual > alarm.baseline / 2  # from before the fall, not from the cool-down
    assert [row[2] for row in alarms(quiet)] == ["kept", None]


def test_fall_that_ends_with_the_cool_down_raises_no_alarm(quiet: Connection) -> None:
    fall(quiet)
    decide(quiet, "kept")
    days(quiet, 8, 10, hits=False)
    days(quiet, 18, 3)
    assert verdicts(evaluate_due_days(quiet, PATIENT)) == [*["cooling-down"] * 10, *["steady"] * 3]


def test_replaced_champion_has_no_cool_down(quiet: Connection) -> None:
    fall(quiet)
    decide(quiet, "published")
    days(quiet, 8, 6)
    days(quiet, 14, 2, hits=False)
    assert verdicts(evaluate_due_days(quiet, PATIENT))[-1] == "alarm"


def test_training_without_an_alarm_does_not_restart_the_baseline(quiet: Connection) -> None:
    evaluate_due_days(quiet)
    decide(quiet, "kept", cause="asked")
    days(quiet, QUIET_DAYS, 2, hits=False)
    assert verdicts(evaluate_due_days(quiet)) == ["steady", "alarm"]


def test_fall_of_the_lift_points_to_users_or_recommendations(quiet: Connection) -> None:
    assert fall(quiet).why.endswith("the lift over popularity fell too: users or recommendations have changed")


def test_stable_lift_points_to_the_data(quiet: Connection) -> None:
    """Popular tracks are hit as often as recommendations; on two days neither is hit."""
    alike = create_publication(quiet, {user: recommended_tracks(user) for user in USERS}, excludes_played=False)
    quiet.execute("update ml.live_publications set publication_id = %s", [alike])
    for user in USERS:
        quiet.execute(
            f"update ml.recommendations_{alike} set track_id = %s where user_id = %s and rank = 1",
            [POPULAR_TRACK, user],
        )
    quiet.execute("insert into ml.fallbacks values (%s, '', 1, %s, 0)", [alike, POPULAR_TRACK])
    quiet.execute("truncate warehouse.listen_history, warehouse.listen_history_tracks, mart.user_track_plays")
    add_plays(
        quiet,
        *(
            (user, at(number), (POPULAR_TRACK if number < 6 and (user + number) % 5 else UNLISTED_TRACK,))
            for number in range(8)
            for user in range(1, 11 - number % 3)
        ),
    )
    for number in (7, 8):
        start_day(quiet, number)

    (alarm,) = (evaluation for evaluation in evaluate_due_days(quiet) if evaluation.verdict == "alarm")

    assert alarm.quality.day in (day(6), day(7))
    assert alarm.why.endswith(
        "the lift over popularity did not fall: traffic or data have changed; check the audits first"
    )


def test_alarm_of_feedback_has_no_lift_diagnosis(quiet: Connection) -> None:
    days(quiet, QUIET_DAYS, 6, useful=True)
    days(quiet, QUIET_DAYS + 6, 2, useful=False)
    assert "lift" not in evaluate_due_days(quiet)[-1].why


@pytest.mark.parametrize(
    ("age", "recent_decision", "expected"),
    [(6.6, None, None), (6.5, None, 6.5), (6.5, "kept", None), (6.5, "failed", 6.5)],
)
def test_old_model_is_refreshed_once_per_cool_down(
    age: float, recent_decision: str | None, expected: float | None, quiet: Connection
) -> None:
    *_, last = evaluate_due_days(quiet)
    if recent_decision:
        insert_model_run(quiet, at(4), recent_decision, "age")
    # The model learned until noon of the day before day 0; the evaluated day 5 ends 6.5 days later.
    age_of_model = quality_monitor.age_due_for_refresh(quiet, last, age, RULES.cool_down_days)
    assert age_of_model == expected


def _open_after(connection: Connection) -> list[quality_monitor.OpenDriftAlarm]:
    evaluate_due_days(connection)
    return quality_monitor.open_alarms(connection)


def test_recovery_does_not_close_an_alarm(quiet: Connection) -> None:
    """Only a training closes an alarm; good days do not."""
    fall(quiet)
    go_live(quiet, 1, at(8, 1))
    days(quiet, 8, 3)
    evaluate_due_days(quiet)
    assert [alarm.day for alarm in quality_monitor.open_alarms(quiet)] == [date(2024, 4, 8)]
