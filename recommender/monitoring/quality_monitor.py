"""Evaluate each day: measure the quality of the publication, compare it with earlier days, and raise drift alarms.

The results are in `ml.quality_metrics`, `ml.alarms` and `ml.decisions`. Each day is evaluated once, in order. An alarm
stays open until a training answers it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any, Literal

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from core.database import Connection, readable_errors
from core.queries import load_query
from recommender.monitoring.daily_quality import (
    MODEL_AGE,
    USEFUL,
    DayQuality,
    lift,
    measure_day,
    measure_outcomes,
    ndcg,
)
from recommender.monitoring.drift import CusumResult, CusumSettings, SelfStartingCusum
from recommender.monitoring.experiment_looks import save_looks
from recommender.monitoring.experiment_outcomes import save_outcomes

# Most important first. The verdict of a day is the first of these that any metric has.
DayStatus = Literal["alarm", "unanswered", "cooling-down", "steady", "warming-up", "gathering", "not-judged"]
_STATUSES: tuple[DayStatus, ...] = (
    "alarm",
    "unanswered",
    "cooling-down",
    "steady",
    "warming-up",
    "gathering",
    "not-judged",
)


@dataclass(frozen=True)
class MonitoringSettings:
    """Settings of the monitor.

    Recommendations are evaluated at `k`. `plays` and `useful` are the CUSUM settings of the two metrics. Consecutive
    days are merged until they have `users` users. After a training that kept the champion, `cool_down_days` days raise
    no alarm and do not count for the baseline.
    """

    k: int = 20
    plays: CusumSettings = field(default_factory=CusumSettings)
    useful: CusumSettings = field(default_factory=lambda: CusumSettings(h=6.5))
    users: int = 200
    cool_down_days: int = 7

    def cusum_settings(self, metric: str) -> CusumSettings:
        """The CUSUM settings of one metric."""
        return self.useful if metric == USEFUL else self.plays


@dataclass(frozen=True)
class DueDay:
    """A day to evaluate. `blocked`: its plays did not pass their audit."""

    day: date
    blocked: bool


@dataclass(frozen=True)
class OpenDriftAlarm:
    """A fall of a metric: its `value` over the merged days, its `baseline`, and the cumulative fall (`statistic`)."""

    metric: str
    day: date
    value: float
    baseline: float
    statistic: float
    publication_id: int
    alarm_id: int = 0


@dataclass(frozen=True)
class MetricStatus:
    """The status of one metric on one day: `batches` of merged days with enough users, and `gathered` users since."""

    metric: str
    verdict: DayStatus
    batches: int = 0
    gathered: int = 0
    value: float | None = None
    baseline: float | None = None
    statistic: float | None = None


@dataclass(frozen=True)
class DayEvaluation:
    """The verdict of one day, its explanation, and the metrics behind it."""

    quality: DayQuality
    verdict: DayStatus
    why: str
    metric_statuses: tuple[MetricStatus, ...] = ()


@readable_errors()
def days_to_evaluate(connection: Connection, now: datetime) -> list[DueDay]:
    """All days that ended before `now` and are not evaluated yet, in order. Raises DatabaseError."""
    return [DueDay(*row) for row in connection.execute(load_query("quality/find_days_to_evaluate"), {"now": now})]


@readable_errors()
def open_alarms(connection: Connection) -> list[OpenDriftAlarm]:
    """Alarms that no training has answered, oldest first. Raises DatabaseError."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return [OpenDriftAlarm(**row) for row in cursor.execute(load_query("quality/alarms.find_open_alarms"))]


@readable_errors()
def alarms_answered_by(connection: Connection, model_run_id: int) -> list[tuple[int, str, str]]:
    """Id, metric and answer of each alarm that a training answered. Raises DatabaseError."""
    return connection.execute(
        load_query("quality/alarms.find_answered_alarms"), {"model_run_id": model_run_id}
    ).fetchall()


@readable_errors()
def newest_decisions(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """The newest decisions about days and trainings, newest first. Raises DatabaseError."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return list(cursor.execute(load_query("quality/decisions.find_newest_decisions"), {"limit": limit}))


@readable_errors()
def evaluate_day(
    connection: Connection, due: DueDay, settings: MonitoringSettings, now: datetime, plays: DayQuality | None = None
) -> DayEvaluation:
    """Measure a day, compare it with earlier days, and record the result, in one transaction.

    `plays` is the result of `measure_plays`, if it was measured before.
    It also deletes the fresh recommendations that no later day needs.
    The caller evaluates days in order, and holds the warehouse lock. Raises DatabaseError.
    """
    with connection.transaction():
        usual_usefulness = _baseline(connection, USEFUL, due.day, settings)
        quality = measure_day(connection, due.day, settings.k, usual_usefulness, now, plays)
        evaluated = not due.blocked and not quality.not_evaluated_reason
        if evaluated:
            save_outcomes(connection, due.day, measure_outcomes(connection, due.day, settings.k, now))
        _record_metrics(connection, quality, evaluated, now)
        if not evaluated:
            why = quality.not_evaluated_reason or "the plays of this day did not pass their audit"
            evaluation = DayEvaluation(quality, "not-judged", f"not judged: {why}")
        else:
            evaluation = _evaluate(connection, quality, settings, now)
        _record_verdict(connection, evaluation, now)
        if evaluated:
            save_looks(connection, due.day, settings.k, now)
        # Answers of the next day may be about recommendations of this day, so these stay one day longer.
        before = {"before": datetime.combine(due.day, time(), UTC)}
        connection.execute(load_query("quality/fresh_history.prune_history"), before)
        connection.execute(load_query("quality/fresh_history.delete_removed"), before)
    return evaluation


@readable_errors()
def age_due_for_refresh(
    connection: Connection, evaluation: DayEvaluation, max_age_days: float, cool_down_days: int
) -> float | None:
    """The age of the live model in days if a refresh is due, otherwise None. Raises DatabaseError.

    The age is the time from the end of the model's plays to the end of the evaluated day. A refresh is due at
    `max_age_days`, unless another refresh ran within `cool_down_days`.
    """
    age = evaluation.quality[MODEL_AGE]
    if age is None or age.value < max_age_days:
        return None
    values = {"day": evaluation.quality.day, "days": cool_down_days}
    return (
        None
        if connection.execute(load_query("quality/decisions.find_recent_refresh"), values).fetchone()
        else age.value
    )


def _evaluate(
    connection: Connection, quality: DayQuality, settings: MonitoringSettings, now: datetime
) -> DayEvaluation:
    metrics_with_alarm = {alarm.metric for alarm in open_alarms(connection)}
    cool_down_end = _end_of_cool_down(connection, quality.day, settings)
    statuses = []
    for metric in (ndcg(settings.k), USEFUL):
        status = _metric_status(connection, metric, quality, settings, cool_down_end)
        if status.verdict == "alarm" and metric in metrics_with_alarm:
            status = _with_verdict(status, "unanswered")
        elif status.verdict == "alarm":
            _raise_alarm(connection, status, quality, now)
        statuses.append(status)
    verdict = next(verdict for verdict in _STATUSES if verdict in {status.verdict for status in statuses})
    texts = [_explain(status, settings, cool_down_end) for status in statuses if status.verdict != "not-judged"]
    if any(status.metric != USEFUL and status.verdict == "alarm" for status in statuses):
        texts.append(_diagnosis(connection, quality, settings))
    return DayEvaluation(
        quality, verdict, "; ".join([*texts, *quality.notes]) or "no metric to evaluate", tuple(statuses)
    )


def _metric_status(
    connection: Connection, metric: str, quality: DayQuality, settings: MonitoringSettings, cool_down_end: date | None
) -> MetricStatus:
    measured = quality[metric]
    if measured is None:
        return MetricStatus(metric, "not-judged")
    if cool_down_end is not None:
        return MetricStatus(metric, "cooling-down", value=measured.value)
    merged, gathered = _merged(_series(connection, metric, quality.day, settings), settings.users)
    if gathered:
        return MetricStatus(metric, "gathering", len(merged), gathered)
    value, result = merged[-1].value, _run_cusum(merged, settings.cusum_settings(metric))
    figures = (value, float(result.baseline[0]), float(result.statistic[0]))
    if len(merged) <= settings.cusum_settings(metric).warm_up:
        return MetricStatus(metric, "warming-up", len(merged), 0, value)
    return MetricStatus(metric, "alarm" if result.alarm[0] else "steady", len(merged), 0, *figures)


@dataclass(frozen=True)
class MetricMean:
    """The mean of one or more merged days. `alarm_answered`: a training has answered the fall so far."""

    value: float
    users: int
    alarm_answered: bool = False


def _series(connection: Connection, metric: str, day: date, settings: MonitoringSettings) -> list[MetricMean]:
    values = {"metric": metric, "day": day, "cool_down_days": settings.cool_down_days}
    return [
        MetricMean(*row[1:]) for row in connection.execute(load_query("quality/metrics.find_metric_series"), values)
    ]


def _merged(series: Sequence[MetricMean], users: int) -> tuple[list[MetricMean], int]:
    """Merge consecutive days until they have enough users. Also return the users of the last, unfinished merge."""
    merged, total, count, alarm_answered = [], 0.0, 0, False
    for day_mean in series:
        total, count, alarm_answered = (
            total + day_mean.value * day_mean.users,
            count + day_mean.users,
            alarm_answered or day_mean.alarm_answered,
        )
        if count >= users:
            merged.append(MetricMean(total / count, count, alarm_answered))
            total, count, alarm_answered = 0.0, 0, False
    return merged, count


def _run_cusum(merged: Sequence[MetricMean], rule: CusumSettings) -> CusumResult:
    """Run the CUSUM over all values, and return its result for the last one."""
    cusum = SelfStartingCusum(rule)
    for mean in merged[:-1]:
        cusum.add(mean.value, mean.users)
        if mean.alarm_answered:
            cusum.reset_statistic()
    return cusum.add(merged[-1].value, merged[-1].users)


def _baseline(connection: Connection, metric: str, day: date, settings: MonitoringSettings) -> float | None:
    """The mean of a metric before a day, None during the warm-up."""
    merged, _ = _merged(_series(connection, metric, day, settings), settings.users)
    if len(merged) < settings.cusum_settings(metric).warm_up:
        return None
    return sum(mean.value * mean.users for mean in merged) / sum(mean.users for mean in merged)


def _end_of_cool_down(connection: Connection, day: date, settings: MonitoringSettings) -> date | None:
    values = {"days": settings.cool_down_days, "day": day}
    row = connection.execute(load_query("quality/alarms.find_end_of_cool_down"), values).fetchone()
    return None if row is None else row[0]


def _diagnosis(connection: Connection, quality: DayQuality, settings: MonitoringSettings) -> str:
    """Separate worse recommendations from listening that became harder to predict."""
    merged, _ = _merged(_series(connection, lift(settings.k), quality.day, settings), settings.users)
    if len(merged) <= settings.plays.warm_up:
        return "the lift over popularity has too few values for a diagnosis"
    if float(_run_cusum(merged, settings.plays).statistic[0]) > settings.plays.h / 2:
        return "the lift over popularity fell too: users or recommendations have changed"
    return "the lift over popularity did not fall: traffic or data have changed; check the audits first"


def _raise_alarm(connection: Connection, status: MetricStatus, quality: DayQuality, now: datetime) -> None:
    values = {
        "metric": status.metric,
        "day": quality.day,
        "value": status.value,
        "baseline": status.baseline,
        "statistic": status.statistic,
        "publication_id": quality.publication_id,
        "raised_at": now,
    }
    connection.execute(load_query("quality/alarms.insert_alarm"), values)


def _with_verdict(status: MetricStatus, verdict: DayStatus) -> MetricStatus:
    return MetricStatus(**asdict(status) | {"verdict": verdict})


def _explain(status: MetricStatus, settings: MonitoringSettings, cool_down_end: date | None) -> str:
    name, rule = status.metric, settings.cusum_settings(status.metric)
    if status.verdict == "gathering":
        return (
            f"{name}: {status.gathered:,} of the {settings.users:,} users that a verdict needs; the next day is added"
        )
    if status.verdict == "cooling-down":
        return f"{name} {status.value:.4f}: a training kept the champion, so no alarm is raised up to {cool_down_end}"
    if status.verdict == "warming-up":
        return f"{name} {status.value:.4f}: warm-up, {status.batches} of {rule.warm_up} values"
    text = (
        f"{name} {status.value:.4f}, baseline {status.baseline:.4f}: cumulative fall of "
        f"{status.statistic:.1f} standard deviations, the alarm threshold is {rule.h:g}"
    )
    if status.verdict == "unanswered":
        return f"{text}; the previous alarm still waits for a training"
    return text


def _record_metrics(connection: Connection, quality: DayQuality, evaluated: bool, now: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            load_query("quality/metrics.insert_metric"),
            [
                {
                    "metric": metric.name,
                    "day": quality.day,
                    "value": metric.value,
                    "users": metric.users,
                    "lower": metric.lower,
                    "upper": metric.upper,
                    "publication_id": quality.publication_id,
                    "judged": evaluated,
                    "measured_at": now,
                }
                for metric in quality.metrics
            ],
        )


def _record_verdict(connection: Connection, evaluation: DayEvaluation, now: datetime) -> None:
    figures = {
        "metrics": {metric.name: metric.value for metric in evaluation.quality.metrics},
        "watched": {status.metric: asdict(status) for status in evaluation.metric_statuses},
    }
    values = {
        "day": evaluation.quality.day,
        "verdict": evaluation.verdict,
        "why": evaluation.why,
        "figures": Jsonb(figures),
        "decided_at": now,
    }
    connection.execute(load_query("quality/decisions.insert_day_decision"), values)
