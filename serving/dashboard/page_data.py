"""Read the data of the page from the database: one snapshot of `sql/dashboard`, one dataclass per row type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

from core.clock import CLOCK_SKEW
from core.database import STREAM_AUDIT_LOCK, TRAINING_LOCK, WAREHOUSE_LOCK
from serving.database import Database

DAYS = 30
# Streaming is shown for this many hours, in periods of ten minutes (`sql/dashboard/stream.sql`).
STREAM_HOURS, PERIOD_MINUTES = 24, 10
# The time zone of the nightly ingest.
PARIS = ZoneInfo("Europe/Paris")


@dataclass(frozen=True)
class EndpointStatus:
    """The last published day of an endpoint, and its newest batch."""

    endpoint: str
    published_day: date | None
    published_at: datetime | None
    batch_id: str
    day: date
    status: str
    reason: str | None
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True)
class BatchSummary:
    """The newest published batch of one endpoint and day; the newest batch if none is published.

    `was_blocked`: an earlier revision was blocked.
    """

    endpoint: str
    day: date
    batch_id: str
    status: str
    rows_landed: int
    rows_rejected: int
    rows_conflicting: int
    plays_rejected: int
    was_blocked: bool


@dataclass(frozen=True)
class TaskCost:
    """The cost of one task in one run, summed over its calls. Memory is in MiB."""

    run_id: int
    flow: str
    started_at: datetime
    task: str
    seconds: float
    cpu_seconds: float
    peak_memory_mb: float | None
    failures: int


@dataclass(frozen=True)
class LastRun:
    """The newest finished run of a flow."""

    run_id: int
    flow: str
    day: date | None
    started_at: datetime
    finished_at: datetime
    outcome: str | None


@dataclass(frozen=True)
class UnfinishedRun:
    """A run without an end time. It is running (`at_work`) or was interrupted."""

    run_id: int
    flow: str
    day: date | None
    started_at: datetime
    at_work: bool


@dataclass(frozen=True)
class FailingExpectation:
    """A failed expectation of an endpoint's newest batch. `accepted` is the reason why a person accepted the batch."""

    endpoint: str
    batch_id: str
    description: str
    severity: str
    unexpected_count: int | None
    accepted: str | None


@dataclass(frozen=True)
class AuditedDay:
    """The number of checked and failed expectations of a day's batches."""

    day: date
    judged: int
    critical: int
    warning: int


@dataclass(frozen=True)
class QualityMetric:
    """A quality metric of one day, with its confidence bounds if it has any."""

    metric: str
    day: date
    value: float
    users: int
    lower: float | None
    upper: float | None
    publication_id: int
    judged: bool


@dataclass(frozen=True)
class DriftAlarm:
    """A drift alarm. It waits for a training while `answer` is None."""

    alarm_id: int
    metric: str
    day: date
    value: float
    baseline: float
    publication_id: int
    raised_at: datetime
    answer: str | None
    answered_at: datetime | None
    model_run_id: int | None


@dataclass(frozen=True)
class LivePublication:
    """A publication that went live at `live_from`."""

    live_id: int
    publication_id: int
    live_from: datetime
    why: str
    model: str
    model_run_id: int
    listeners: int
    rows: int
    tracks_covered: int


@dataclass(frozen=True)
class NewestPublication:
    """The newest publication, live or not."""

    publication_id: int
    status: str
    made_at: datetime
    reason: str | None


@dataclass(frozen=True)
class PausedExperiment:
    """The running experiment while all users get the control, and why they do."""

    experiment_id: int
    why: str


@dataclass(frozen=True)
class DecisionRecord:
    """A decision. `kind` is day (a daily evaluation), training or rollback."""

    kind: str
    day: date
    outcome: str
    why: str
    decided_at: datetime


@dataclass(frozen=True)
class ActiveCounts:
    """The number of current users and tracks."""

    users: int
    tracks: int


@dataclass(frozen=True)
class StreamPeriod:
    """Figures of all consumers in the ten minutes from `period`. The ages are histograms (`core.age_histogram`)."""

    period: datetime
    messages: int
    plays: int
    rejected: int
    lag_seconds: float
    commit_ages: Sequence[int]
    list_ages: Sequence[int]


@dataclass(frozen=True)
class StreamReport:
    """The newest report of a consumer. `lag_messages` is None if it is unknown."""

    written_at: datetime
    lag_messages: int | None
    lag_seconds: float


@dataclass(frozen=True)
class IncidentSnooze:
    """An incident that a person snoozed in the console. Until then it does not count for the status."""

    incident_key: str
    snoozed_until: datetime
    reason: str
    key_id: str


@dataclass(frozen=True)
class PageData:
    """All data of the page, from one snapshot. `days` end with today."""

    days: tuple[date, ...]
    watched: str
    endpoints: Sequence[EndpointStatus] = ()
    batches: Sequence[BatchSummary] = ()
    task_costs: Sequence[TaskCost] = ()
    last_runs: Sequence[LastRun] = ()
    unfinished_runs: Sequence[UnfinishedRun] = ()
    failing_expectations: Sequence[FailingExpectation] = ()
    expectations_by_day: Sequence[AuditedDay] = ()
    quality: Sequence[QualityMetric] = ()
    alarms: Sequence[DriftAlarm] = ()
    live_publications: Sequence[LivePublication] = ()
    newest_publication: Sequence[NewestPublication] = ()
    paused_experiments: Sequence[PausedExperiment] = ()
    decisions: Sequence[DecisionRecord] = ()
    active_counts: Sequence[ActiveCounts] = ()
    stream_periods: Sequence[StreamPeriod] = ()
    stream_reports: Sequence[StreamReport] = ()
    snoozes: Sequence[IncidentSnooze] = ()


_ROWS: dict[str, tuple[str, type[Any]]] = {
    "endpoints": ("dashboard/batches.find_endpoint_status", EndpointStatus),
    "batches": ("dashboard/batches.find_batches_by_day", BatchSummary),
    "task_costs": ("dashboard/runs.sum_task_costs", TaskCost),
    "last_runs": ("dashboard/runs.find_last_runs", LastRun),
    "unfinished_runs": ("dashboard/runs.find_open_runs", UnfinishedRun),
    "failing_expectations": ("dashboard/batches.find_failed_expectations", FailingExpectation),
    "expectations_by_day": ("dashboard/batches.count_expectations_by_day", AuditedDay),
    "quality": ("dashboard/recommendations.find_quality_metrics", QualityMetric),
    "alarms": ("dashboard/recommendations.find_alarms", DriftAlarm),
    "live_publications": ("dashboard/recommendations.find_live_publications", LivePublication),
    "newest_publication": ("dashboard/recommendations.find_newest_publication", NewestPublication),
    "paused_experiments": ("dashboard/recommendations.find_paused_experiments", PausedExperiment),
    "decisions": ("dashboard/recommendations.find_decisions", DecisionRecord),
    "active_counts": ("dashboard/recommendations.count_users_and_tracks", ActiveCounts),
    "stream_periods": ("dashboard/stream.sum_stream_periods", StreamPeriod),
    "stream_reports": ("dashboard/stream.find_stream_consumers", StreamReport),
    "snoozes": ("console/actions.find_snoozes", IncidentSnooze),
}
STATEMENTS = tuple(query for query, _ in _ROWS.values())


def last_days(now: datetime, days: int = DAYS) -> tuple[date, ...]:
    """The days (UTC) that end with today."""
    return tuple(now.date() - timedelta(before) for before in reversed(range(days)))


def period_of(moment: datetime) -> datetime:
    """The start of the ten minutes of this moment."""
    return moment.replace(minute=moment.minute - moment.minute % PERIOD_MINUTES, second=0, microsecond=0)


def latest_today(now: datetime) -> date:
    """The later of today in UTC and today in Paris. No batch of a later day can be due."""
    return max(now.astimezone(UTC).date(), now.astimezone(PARIS).date())


async def read_page_data(database: Database, now: datetime, evaluated_at: int, days_shown: int = DAYS) -> PageData:
    """Read all data from one snapshot. `evaluated_at` is the k of the ranking metrics. Raises DatabaseError."""
    days, watched = last_days(now, days_shown), f"ndcg@{evaluated_at}"
    parameters: Mapping[str, Any] = {
        "now": now,
        "first_day": days[0],
        "last_day": days[-1],
        "today": latest_today(now),
        "latest": now + CLOCK_SKEW,
        "streamed_since": period_of(now) - timedelta(hours=STREAM_HOURS),
        "since": datetime.combine(days[0], time(), UTC),
        "metrics": [watched, "useful", f"coverage@{evaluated_at}", "without_list"],
        "warehouse_lock": WAREHOUSE_LOCK,
        "training_lock": TRAINING_LOCK,
        "stream_audit_lock": STREAM_AUDIT_LOCK,
    }
    results = await database.snapshot(STATEMENTS, parameters)
    rows = {name: tuple(row_class(*row) for row in results[query]) for name, (query, row_class) in _ROWS.items()}
    return PageData(days, watched, **cast(dict[str, Any], rows))
