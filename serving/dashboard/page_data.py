"""What the page shows, as the database has it: one snapshot of `sql/dashboard`, a dataclass a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

from core.clock import CLOCK_SKEW
from core.database import TRAINING_LOCK, WAREHOUSE_LOCK
from serving.database import Database

DAYS = 30
# Where the ingest begins at four in the morning.
PARIS = ZoneInfo("Europe/Paris")


@dataclass(frozen=True)
class EndpointStatus:
    """An endpoint: how far it is published, and its newest batch."""

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
    """The newest revision of one endpoint's day."""

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
    """One step of one run, its calls together. Memory is in MiB."""

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
    """The newest run of a flow that came to an end."""

    run_id: int
    flow: str
    day: date | None
    started_at: datetime
    finished_at: datetime
    outcome: str | None


@dataclass(frozen=True)
class UnfinishedRun:
    """A run without an end: at work, or cut off."""

    run_id: int
    flow: str
    day: date | None
    started_at: datetime
    at_work: bool


@dataclass(frozen=True)
class FailingExpectation:
    """A rule that an endpoint's newest audit did not hold. `accepted`: why the batch was let in all the same."""

    endpoint: str
    batch_id: str
    expectation: str
    column_name: str | None
    severity: str
    unexpected_count: int | None
    accepted: str | None


@dataclass(frozen=True)
class AuditedDay:
    """How many rules were judged on a day's batches, and how many did not hold."""

    day: date
    judged: int
    critical: int
    warning: int


@dataclass(frozen=True)
class QualityMetric:
    """A metric of quality on one day, with the bounds of chance if it has any."""

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
    """Quality fell beyond chance; waits for a training while `answer` is None."""

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
    """A list of everyone, at the moment it went live."""

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
    """The list that was made last."""

    publication_id: int
    status: str
    made_at: datetime
    reason: str | None


@dataclass(frozen=True)
class DecisionRecord:
    """What was decided on a day, or by a training."""

    decision_id: int
    kind: str
    day: date
    outcome: str
    why: str
    model_run_id: int | None
    decided_at: datetime


@dataclass(frozen=True)
class ActiveCounts:
    """Who is there to be offered something, and what there is to offer."""

    listeners: int
    tracks: int


@dataclass(frozen=True)
class PageData:
    """All of it, of one moment; `days` are the last thirty, today included. Field names are those of the SQL files."""

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
    decisions: Sequence[DecisionRecord] = ()
    active_counts: Sequence[ActiveCounts] = ()


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
    "decisions": ("dashboard/recommendations.find_decisions", DecisionRecord),
    "active_counts": ("dashboard/recommendations.count_users_and_tracks", ActiveCounts),
}
STATEMENTS = tuple(query for query, _ in _ROWS.values())


def last_days(now: datetime) -> tuple[date, ...]:
    """The thirty days (UTC) that end with today."""
    return tuple(now.date() - timedelta(days) for days in reversed(range(DAYS)))


def latest_today(now: datetime) -> date:
    """Today in UTC or in Paris, whichever is later: no batch of a later day can be due."""
    return max(now.astimezone(UTC).date(), now.astimezone(PARIS).date())


async def read_page_data(database: Database, now: datetime, evaluated_at: int) -> PageData:
    """One snapshot of everything. Lists are measured by their best `evaluated_at`. Raises DatabaseError."""
    days, watched = last_days(now), f"ndcg@{evaluated_at}"
    parameters: Mapping[str, Any] = {
        "first_day": days[0],
        "last_day": days[-1],
        "today": latest_today(now),
        "latest": now + CLOCK_SKEW,
        "since": datetime.combine(days[0], time(), UTC),
        "metrics": [watched, "useful", f"coverage@{evaluated_at}", "without_list"],
        "warehouse_lock": WAREHOUSE_LOCK,
        "training_lock": TRAINING_LOCK,
    }
    found = await database.snapshot(STATEMENTS, parameters)
    rows = {name: tuple(row_class(*row) for row in found[query]) for name, (query, row_class) in _ROWS.items()}
    return PageData(days, watched, **cast(dict[str, Any], rows))
