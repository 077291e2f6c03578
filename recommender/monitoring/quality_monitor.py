"""The verdict on each day: whether the quality of what is published fell beyond chance, and what is done about it.

Everything that is decided stands in the database, in `ml.quality_metrics`, `ml.alarms` and `ml.decisions`: a day is
judged once and in order, and an alarm stays open until a training was decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any, Literal

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from core.database import Connection, readable_errors
from core.queries import load_query
from recommender.monitoring.daily_quality import MODEL_AGE, USEFUL, DayQuality, lift, measure_day, ndcg
from recommender.monitoring.drift import CusumResult, CusumSettings, SelfStartingCusum

# From the one that matters most: the verdict on a day is the first that holds of any metric.
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
    """How days are judged: lists by their first `k`, a fall in what is played by `plays`, in what is said by `useful`.

    Days are put together until they have `users` values. No alarm is raised for `cool_down_days` after a training
    that kept the champion; these days do not tell what is usual either.
    """

    k: int = 20
    plays: CusumSettings = field(default_factory=CusumSettings)
    useful: CusumSettings = field(default_factory=lambda: CusumSettings(h=6.5))
    users: int = 200
    cool_down_days: int = 7

    def of(self, metric: str) -> CusumSettings:
        """The rule of one metric."""
        return self.useful if metric == USEFUL else self.plays


@dataclass(frozen=True)
class DueDay:
    """A day to be judged. `blocked`: its listens did not pass their audit."""

    day: date
    blocked: bool


@dataclass(frozen=True)
class OpenDriftAlarm:
    """A metric that fell: its `value` over the days merged, what was usual before, and how much fell together."""

    metric: str
    day: date
    value: float
    baseline: float
    statistic: float
    publication_id: int
    alarm_id: int = 0


@dataclass(frozen=True)
class MetricStatus:
    """What one metric says on one day: `batches` of days with enough users, and `gathered` users since."""

    metric: str
    verdict: DayStatus
    batches: int = 0
    gathered: int = 0
    value: float | None = None
    baseline: float | None = None
    statistic: float | None = None


@dataclass(frozen=True)
class DayEvaluation:
    """The verdict on one day, in one word and in words for people, and what it rests on."""

    quality: DayQuality
    verdict: DayStatus
    why: str
    watches: tuple[MetricStatus, ...] = ()


@readable_errors()
def days_to_evaluate(connection: Connection, now: datetime) -> list[DueDay]:
    """Every day that is over by `now` and was not judged yet, in order. Raises DatabaseError."""
    return [DueDay(*row) for row in connection.execute(load_query("quality/find_days_to_evaluate"), {"now": now})]


@readable_errors()
def open_alarms(connection: Connection) -> list[OpenDriftAlarm]:
    """Alarms that no training has answered, oldest first. Raises DatabaseError."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return [OpenDriftAlarm(**row) for row in cursor.execute(load_query("quality/alarms.find_open_alarms"))]


@readable_errors()
def alarms_answered_by(connection: Connection, model_run_id: int) -> list[tuple[int, str, str]]:
    """Number, metric and answer of each alarm that a training answered. Raises DatabaseError."""
    return connection.execute(
        load_query("quality/alarms.find_answered_alarms"), {"model_run_id": model_run_id}
    ).fetchall()


@readable_errors()
def newest_decisions(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """What was decided lately about days and trainings, newest first. Raises DatabaseError."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return list(cursor.execute(load_query("quality/decisions.find_newest_decisions"), {"limit": limit}))


@readable_errors()
def evaluate_day(connection: Connection, due: DueDay, settings: MonitoringSettings, now: datetime) -> DayEvaluation:
    """Measure a day, compare it with those before, and write all of it down, in one transaction.

    The caller judges days in order, and holds the warehouse lock. Raises DatabaseError.
    """
    with connection.transaction():
        usual = _usual(connection, USEFUL, due.day, settings)
        quality = measure_day(connection, due.day, settings.k, usual, now)
        judged = not due.blocked and not quality.why_not
        _keep_metrics(connection, quality, judged, now)
        if not judged:
            why = quality.why_not or "the listens of this day did not pass their audit"
            evaluation = DayEvaluation(quality, "not-judged", f"not judged: {why}")
        else:
            evaluation = _evaluate(connection, quality, settings, now)
        _keep_verdict(connection, evaluation, now)
    return evaluation


@readable_errors()
def age_due_for_refresh(
    connection: Connection, judged: DayEvaluation, max_age_days: float, cool_down_days: int
) -> float | None:
    """The age of the live model in days, when it is old enough to be refreshed, and was not lately; else None.

    It is old when the plays that it learned from ended `max_age_days` before the end of the day that was judged.
    Raises DatabaseError.
    """
    age = judged.quality[MODEL_AGE]
    if age is None or age.value < max_age_days:
        return None
    values = {"day": judged.quality.day, "days": cool_down_days}
    return (
        None
        if connection.execute(load_query("quality/decisions.find_recent_refresh"), values).fetchone()
        else age.value
    )


def _evaluate(
    connection: Connection, quality: DayQuality, settings: MonitoringSettings, now: datetime
) -> DayEvaluation:
    waiting = {alarm.metric for alarm in open_alarms(connection)}
    cooling = _cooling_down(connection, quality.day, settings)
    watches = []
    for metric in (ndcg(settings.k), USEFUL):
        status = _metric_status(connection, metric, quality, settings, cooling)
        if status.verdict == "alarm" and metric in waiting:
            status = _with_verdict(status, "unanswered")
        elif status.verdict == "alarm":
            _raise(connection, status, quality, now)
        watches.append(status)
    verdict = next(element for element in _STATUSES if element in {status.verdict for status in watches})
    texts = [_in_words(status, settings, cooling) for status in watches if status.verdict != "not-judged"]
    if any(status.metric != USEFUL and status.verdict == "alarm" for status in watches):
        texts.append(_diagnosis(connection, quality, settings))
    return DayEvaluation(quality, verdict, "; ".join([*texts, *quality.notes]) or "nothing to judge by", tuple(watches))


def _metric_status(
    connection: Connection, metric: str, quality: DayQuality, settings: MonitoringSettings, cooling: date | None
) -> MetricStatus:
    measured = quality[metric]
    if measured is None:
        return MetricStatus(metric, "not-judged")
    if cooling is not None:
        return MetricStatus(metric, "cooling-down", value=measured.value)
    merged, gathered = _merged(_series(connection, metric, quality.day, settings), settings.users)
    if gathered:
        return MetricStatus(metric, "gathering", len(merged), gathered)
    value, reading = merged[-1].value, _read(merged, settings.of(metric))
    figures = (value, float(reading.baseline[0]), float(reading.statistic[0]))
    if len(merged) <= settings.of(metric).warm_up:
        return MetricStatus(metric, "warming-up", len(merged), 0, value)
    return MetricStatus(metric, "alarm" if reading.alarm[0] else "steady", len(merged), 0, *figures)


@dataclass(frozen=True)
class MetricMean:
    """One day, or several merged: a mean over users. `forgiven`: a training has answered what fell so far."""

    value: float
    users: int
    forgiven: bool = False


def _series(connection: Connection, metric: str, day: date, settings: MonitoringSettings) -> list[MetricMean]:
    values = {"metric": metric, "day": day, "cool_down_days": settings.cool_down_days}
    return [
        MetricMean(*row[1:]) for row in connection.execute(load_query("quality/metrics.find_metric_series"), values)
    ]


def _merged(series: Sequence[MetricMean], users: int) -> tuple[list[MetricMean], int]:
    """Means over days with enough users together, in order, and how many users came since the last."""
    merged, total, count, forgiven = [], 0.0, 0, False
    for element in series:
        total, count, forgiven = (
            total + element.value * element.users,
            count + element.users,
            forgiven or element.forgiven,
        )
        if count >= users:
            merged.append(MetricMean(total / count, count, forgiven))
            total, count, forgiven = 0.0, 0, False
    return merged, count


def _read(merged: Sequence[MetricMean], rule: CusumSettings) -> CusumResult:
    """What the last of them says."""
    cusum = SelfStartingCusum(rule)
    for before in merged[:-1]:
        cusum.add(before.value, before.users)
        if before.forgiven:
            cusum.reset_statistic()
    return cusum.add(merged[-1].value, merged[-1].users)


def _usual(connection: Connection, metric: str, day: date, settings: MonitoringSettings) -> float | None:
    """What a metric was before a day, once enough is known."""
    merged, _ = _merged(_series(connection, metric, day, settings), settings.users)
    if len(merged) < settings.of(metric).warm_up:
        return None
    return sum(element.value * element.users for element in merged) / sum(element.users for element in merged)


def _cooling_down(connection: Connection, day: date, settings: MonitoringSettings) -> date | None:
    values = {"days": settings.cool_down_days, "day": day}
    row = connection.execute(load_query("quality/alarms.find_end_of_cool_down"), values).fetchone()
    return None if row is None else row[0]


def _diagnosis(connection: Connection, quality: DayQuality, settings: MonitoringSettings) -> str:
    """Whether the lists became worse than popularity by as much as they did, or everything became harder to guess."""
    merged, _ = _merged(_series(connection, lift(settings.k), quality.day, settings), settings.users)
    if len(merged) <= settings.plays.warm_up:
        return "too little is known of the lift over popularity to say why"
    if float(_read(merged, settings.plays).statistic[0]) > settings.plays.h / 2:
        return "the lift over popularity fell with it: users or lists have changed"
    return "the lift over popularity did not fall with it: traffic or data changed, look at the audits first"


def _raise(connection: Connection, status: MetricStatus, quality: DayQuality, now: datetime) -> None:
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


def _in_words(status: MetricStatus, settings: MonitoringSettings, cooling: date | None) -> str:
    name, rule = status.metric, settings.of(status.metric)
    if status.verdict == "gathering":
        return f"{name}: {status.gathered:,} of the {settings.users:,} users that a verdict needs, more days follow"
    if status.verdict == "cooling-down":
        return (
            f"{name} {status.value:.4f}: the champion was kept after the last alarm, nothing is raised up to {cooling}"
        )
    if status.verdict == "warming-up":
        return f"{name} {status.value:.4f}: learning what is usual, {status.batches} of {rule.warm_up} values"
    text = (
        f"{name} {status.value:.4f}, usually {status.baseline:.4f}: fell by {status.statistic:.1f} standard deviations "
        f"together, more than {rule.h:g} are an alarm"
    )
    if status.verdict == "unanswered":
        return f"{text}; the alarm before waits for a training"
    return text


def _keep_metrics(connection: Connection, quality: DayQuality, judged: bool, now: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            load_query("quality/metrics.insert_metric"),
            [
                {
                    "metric": element.name,
                    "day": quality.day,
                    "value": element.value,
                    "users": element.users,
                    "lower": element.lower,
                    "upper": element.upper,
                    "publication_id": quality.publication_id,
                    "judged": judged,
                    "measured_at": now,
                }
                for element in quality.metrics
            ],
        )


def _keep_verdict(connection: Connection, evaluation: DayEvaluation, now: datetime) -> None:
    figures = {
        "metrics": {element.name: element.value for element in evaluation.quality.metrics},
        "watched": {status.metric: asdict(status) for status in evaluation.watches},
    }
    values = {
        "day": evaluation.quality.day,
        "verdict": evaluation.verdict,
        "why": evaluation.why,
        "figures": Jsonb(figures),
        "decided_at": now,
    }
    connection.execute(load_query("quality/decisions.insert_day_decision"), values)
