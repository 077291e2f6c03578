"""The rules of the health status: from page data and incidents to `healthy`, `attention` or `broken`, with reasons."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

from core.clock import is_ahead
from core.endpoints import ENDPOINTS
from core.settings import PUBLISHED_WITHIN_HOURS
from serving.dashboard.incidents import OpenIncidents
from serving.dashboard.page_data import PARIS, EndpointStatus, LastRun, PageData, latest_today
from serving.dashboard.stream_panels import StreamSection

HealthState = Literal["healthy", "attention", "broken"]
# Headings of docs/operations.md that the page links to.
Section = Literal[
    "Where to look",
    "A batch is blocked",
    "A batch failed",
    "A run was killed, or the database stopped",
    "Recommendations are blocked",
    "Quality fell: a drift alarm",
    "A day was not evaluated",
    "A training was interrupted",
    "Nothing was published",
    "The clock was wrong",
    "The database does not answer",
    "The watchdog does not run",
    "No consumer of the stream is running",
]
_KILLED: Section = "A run was killed, or the database stopped"
# The ingest starts at this time. A day is missed if it is not published ALERT_PUBLISHED_WITHIN_HOURS later. The
# watchdog uses the same limit.
_INGEST_START = time(4)
_MISSED_NIGHTS_UNTIL_BROKEN = 2
_MAX_AGE_OF_RECOMMENDATIONS = timedelta(days=2)
_MAX_UNEVALUATED_DAYS = 3
_UNPUBLISHED_STATUSES = ("blocked", "failed")
_FLOWS_OF_BATCHES = ("ingest", "replay")


@dataclass(frozen=True)
class HealthReason:
    """One reason for a status other than healthy.

    `runbook` is the heading that says what to do; None if the incidents on the page say it. `batch_id` is the batch
    concerned.
    """

    state: HealthState
    text: str
    runbook: Section | None
    batch_id: str | None = None


@dataclass(frozen=True)
class HealthStatus:
    """The worst state of all reasons, and the reasons, worst first."""

    state: HealthState
    reasons: Sequence[HealthReason] = ()


def evaluate_health(
    data: PageData,
    incidents: OpenIncidents,
    now: datetime,
    hours: float = PUBLISHED_WITHIN_HOURS,
    stream: StreamSection | None = None,
) -> HealthStatus:
    """The status of this data. `hours` is ALERT_PUBLISHED_WITHIN_HOURS; `stream` is None if streaming is off."""
    reasons = [
        *_incident_reasons(incidents),
        *_endpoint_reasons(data, now, hours),
        *_run_reasons(data),
        *_recommendation_reasons(data, now),
        *_quality_reasons(data, now),
        *_stream_reasons(stream),
    ]
    return _worst(reasons)


def health_without_database(incidents: OpenIncidents, *, statement_refused: bool) -> HealthStatus:
    """The status `broken`: the database does not respond, or rejects the queries of the page."""
    unavailable = HealthReason(
        "broken",
        "The database does not respond. No recommendations are served, and nothing can be published or shown here",
        "The database does not answer",
    )
    outdated_schema = HealthReason(
        "broken", "The database rejects the queries of this page, because its schema is outdated", "Where to look"
    )
    return _worst([outdated_schema if statement_refused else unavailable, *_incident_reasons(incidents)])


def _worst(reasons: Sequence[HealthReason]) -> HealthStatus:
    ordered = sorted(reasons, key=lambda reason: reason.state != "broken")
    return HealthStatus(ordered[0].state if ordered else "healthy", ordered)


def nights_missed(published: date, now: datetime, hours: float = PUBLISHED_WITHIN_HOURS) -> int:
    """The number of nightly ingests that should have published a later day by now.

    If `hours` spans several days, nights within it do not count. If it is less than a day, the default is used.
    """
    allowed = timedelta(hours=hours if hours >= 24 else PUBLISHED_WITHIN_HOURS)
    due = datetime.combine(published, _INGEST_START) + allowed
    local = now.astimezone(PARIS).replace(tzinfo=None)
    return 0 if local < due else 1 + (local - due) // timedelta(days=allowed.days)


def _incident_reasons(incidents: OpenIncidents) -> Iterator[HealthReason]:
    critical = sum(incident.severity == "critical" for incident in incidents.incidents)
    warnings = len(incidents.incidents) - critical
    if critical:
        yield HealthReason("broken", f"{_count(critical, 'critical incident')} open", None)
    if warnings:
        yield HealthReason("attention", f"{_count(warnings, 'warning')} open", None)
    if incidents.unreadable:
        text = f"The open incidents cannot be read: {incidents.unreadable}"
        yield HealthReason("attention", text, "Where to look")
    if incidents.watchdog_problem:
        yield HealthReason("attention", incidents.watchdog_problem, "The watchdog does not run")


def _endpoint_reasons(data: PageData, now: datetime, hours: float) -> Iterator[HealthReason]:
    statuses = {status.endpoint: status for status in data.endpoints}
    if not statuses:
        yield HealthReason(
            "attention", "No data was ingested yet. Run .venv/bin/python -m flows.ingest", "Where to look"
        )
        return
    late: dict[date, list[str]] = defaultdict(list)
    for name in ENDPOINTS:
        status = statuses.get(name)
        if status is None:
            yield HealthReason("attention", f"No batch of {name} was ingested yet", "A batch failed")
        elif status.status in _UNPUBLISHED_STATUSES or status.published_day is None:
            yield _batch_reason(status, now, hours)
        elif status.published_day > latest_today(now):
            text = f"{name} is published for {status.published_day}, a day in the future. Run the ingest of today"
            yield HealthReason("attention", text, "The clock was wrong", status.batch_id)
        elif nights_missed(status.published_day, now, hours):
            late[status.published_day].append(name)
    for published, names in late.items():
        missed = nights_missed(published, now, hours)
        text = f"{', '.join(names)}: nothing was published after {published}; {_count(missed, 'night')} missed"
        yield HealthReason(_state_for_missed_nights(missed), text, "Nothing was published")


def _batch_reason(status: EndpointStatus, now: datetime, hours: float) -> HealthReason:
    """The reason for an endpoint whose newest batch is not published."""
    section: Section = "A batch is blocked" if status.status == "blocked" else "A batch failed"
    if status.published_day is None:
        return HealthReason(
            "attention",
            f"{status.batch_id} is {status.status}; no earlier batch was published",
            section,
            status.batch_id,
        )
    text = f"{status.batch_id} is {status.status}; {status.endpoint} is published up to {status.published_day}"
    return HealthReason(
        _state_for_missed_nights(nights_missed(status.published_day, now, hours)), text, section, status.batch_id
    )


def _state_for_missed_nights(missed: int) -> HealthState:
    return "broken" if missed >= _MISSED_NIGHTS_UNTIL_BROKEN else "attention"


def _run_reasons(data: PageData) -> Iterator[HealthReason]:
    last_runs = {run.flow: run for run in data.last_runs}
    for run in data.last_runs:
        if run.outcome == "failed" and not _is_published_since(run, data):
            text = f"The last run of {run.flow} failed (started {_moment(run.started_at)})"
            yield HealthReason("attention", text, "Where to look")
    for unfinished in data.unfinished_runs:
        later = last_runs.get(unfinished.flow)
        if not unfinished.at_work and (later is None or later.run_id < unfinished.run_id):
            text = f"{unfinished.flow}, started {_moment(unfinished.started_at)}, never finished, and no later run did"
            section: Section = "A training was interrupted" if unfinished.flow == "retrain" else _KILLED
            yield HealthReason("attention", text, section)


def _is_published_since(run: LastRun, data: PageData) -> bool:
    """Whether every endpoint is published for the day of this failed run: a replay or another run published it."""
    if run.day is None or run.flow not in _FLOWS_OF_BATCHES:
        return False
    published = {
        status.endpoint
        for status in data.endpoints
        if status.status not in _UNPUBLISHED_STATUSES and status.published_day and status.published_day >= run.day
    }
    return published == set(ENDPOINTS)


def _recommendation_reasons(data: PageData, now: datetime) -> Iterator[HealthReason]:
    for newest in data.newest_publication:
        if newest.status == "blocked":
            text = (
                f"The newest recommendations (publication {newest.publication_id}) are blocked; "
                "the previous ones stay live"
            )
            yield HealthReason("attention", text, "Recommendations are blocked")
    for experiment in data.paused_experiments:
        text = f"Experiment {experiment.experiment_id} is paused, and all users get the control: {experiment.why}"
        yield HealthReason("attention", text, "Recommendations are blocked")
    if not data.endpoints:
        return
    if not data.live_publications:
        yield HealthReason("attention", "No recommendations are published yet", "Where to look")
        return
    live_from = data.live_publications[0].live_from
    if is_ahead(live_from, now):
        text = f"The live recommendations were published while the clock was ahead ({_moment(live_from)})"
        yield HealthReason("attention", f"{text}. Run .venv/bin/python -m flows.recommend", "The clock was wrong")
        return
    # New recommendations follow a publication of data. Without new data, the old recommendations stay correct.
    changed = any(live_from.date() < day < now.date() for day in _published_days(data, *ENDPOINTS))
    if changed and now - live_from > _MAX_AGE_OF_RECOMMENDATIONS:
        text = f"The live recommendations are from {_moment(live_from)} and were not refreshed since"
        yield HealthReason("attention", text, "Where to look")


def _quality_reasons(data: PageData, now: datetime) -> Iterator[HealthReason]:
    for alarm in data.alarms:
        if alarm.answer is None:
            fall = f"{alarm.metric} was {alarm.value:.3f} on {alarm.day}; the baseline is {alarm.baseline:.3f}"
            yield HealthReason(
                "attention", f"Quality fell: {fall}. A training has to answer this alarm", "Quality fell: a drift alarm"
            )
    days = [decision.day for decision in data.decisions if decision.kind == "day"]
    # A day is evaluated after it ended. A decision on a later day was recorded while the clock was ahead.
    last_evaluated = max((day for day in days if day < now.date()), default=None)
    # Only days with newly published sessions are evaluated.
    unevaluated = [
        day for day in _published_days(data, "listen_history") if last_evaluated is not None and day > last_evaluated
    ]
    if len(unevaluated) > _MAX_UNEVALUATED_DAYS:
        newest = max(unevaluated)
        text = f"Quality was not evaluated after {last_evaluated}, although sessions up to {newest} are published"
        yield HealthReason("attention", text, "A day was not evaluated")


def _stream_reasons(stream: StreamSection | None) -> Iterator[HealthReason]:
    if stream is not None and not stream.is_running:
        text = "No consumer of the stream is running, so recommendations do not follow plays"
        yield HealthReason("attention", text, "No consumer of the stream is running")


def _published_days(data: PageData, *endpoints: str) -> list[date]:
    """The days of the last thirty with a newly published batch of these endpoints."""
    return [batch.day for batch in data.batches if batch.endpoint in endpoints and batch.status == "published"]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
