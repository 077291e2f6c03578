"""Is it healthy? Nothing but the rules: from the figures and the open alerts to one word, with reasons."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

from core.clock import is_ahead
from serving.dashboard.incidents import OpenIncidents
from serving.dashboard.page_data import PARIS, EndpointStatus, PageData, latest_today

HealthState = Literal["healthy", "attention", "broken"]
# The headings of docs/operations.md that are pointed to.
Section = Literal[
    "Where to look",
    "A batch is blocked",
    "A batch failed",
    "A run was killed, or the database went away",
    "A list of recommendations is blocked",
    "Quality fell: an alarm",
    "A day was not judged",
    "A training was cut off",
    "Nothing was published",
    "The clock was wrong",
    "The database does not answer",
    "The watch does not look",
]
_KILLED: Section = "A run was killed, or the database went away"
ENDPOINTS = ("tracks", "users", "listen_history")
# When the ingest begins. A day that is not there by ALERT_PUBLISHED_WITHIN_HOURS later did not come; the alert says so
# at that hour too.
_BEGIN = time(4)
_HOURS = 27.0
_NIGHTS_TO_BREAK = 2
_DAYS_OF_LISTS = timedelta(days=2)
_DAYS_UNJUDGED = 3
_NOT_GOOD = ("blocked", "failed")


@dataclass(frozen=True)
class HealthReason:
    """Why it is not healthy, the heading of the runbook that says what to do (None: the alerts on the page do), and the
    batch that it is about."""

    state: HealthState
    text: str
    runbook: Section | None
    batch_id: str | None = None


@dataclass(frozen=True)
class HealthStatus:
    """The worst of the reasons, which come worst first."""

    state: HealthState
    reasons: Sequence[HealthReason] = ()


def evaluate_health(data: PageData, incidents: OpenIncidents, now: datetime, hours: float = _HOURS) -> HealthStatus:
    """What the figures come to. `hours` is ALERT_PUBLISHED_WITHIN_HOURS."""
    found = [
        *_of_alerts(incidents),
        *_of_endpoints(data, now, hours),
        *_of_runs(data),
        *_of_lists(data, now),
        *_of_quality(data, now),
    ]
    return _worst(found)


def health_without_database(incidents: OpenIncidents, *, statement_refused: bool) -> HealthStatus:
    """It is broken, whatever else: the database is away, or refuses what is asked of it."""
    away = HealthReason(
        "broken",
        "The database does not answer: nothing can be recommended, published or shown here",
        "The database does not answer",
    )
    wrong = HealthReason(
        "broken", "The database refuses what this page asks: its schema is not up to date", "Where to look"
    )
    return _worst([wrong if statement_refused else away, *_of_alerts(incidents)])


def _worst(reasons: Sequence[HealthReason]) -> HealthStatus:
    ordered = sorted(reasons, key=lambda reason: reason.state != "broken")
    return HealthStatus(ordered[0].state if ordered else "healthy", ordered)


def nights_missed(published: date, now: datetime, hours: float = _HOURS) -> int:
    """How many nights' ingests should have published a later day by now, and did not.

    With `hours` of several days, nights between are none; with less than a day, each day still has one night.
    """
    allowed = timedelta(hours=hours if hours >= 24 else _HOURS)
    due = datetime.combine(published, _BEGIN) + allowed
    local = now.astimezone(PARIS).replace(tzinfo=None)
    return 0 if local < due else 1 + (local - due) // timedelta(days=allowed.days)


def _of_alerts(incidents: OpenIncidents) -> Iterator[HealthReason]:
    critical = sum(incident.severity == "critical" for incident in incidents.incidents)
    warnings = len(incidents.incidents) - critical
    if critical:
        yield HealthReason("broken", f"{_count(critical, 'critical incident')} open", None)
    if warnings:
        yield HealthReason("attention", f"{_count(warnings, 'warning')} open", None)
    if incidents.unreadable:
        text = f"The list of open alerts cannot be read: {incidents.unreadable}"
        yield HealthReason("attention", text, "Where to look")
    if incidents.watchdog_problem:
        yield HealthReason("attention", incidents.watchdog_problem, "The watch does not look")


def _of_endpoints(data: PageData, now: datetime, hours: float) -> Iterator[HealthReason]:
    known = {one.endpoint: one for one in data.endpoints}
    if not known:
        yield HealthReason("attention", "Nothing came in yet; .venv/bin/python -m flows.ingest begins", "Where to look")
        return
    late: dict[date, list[str]] = defaultdict(list)
    for name in ENDPOINTS:
        one = known.get(name)
        if one is None:
            yield HealthReason("attention", f"No batch of {name} ever came in", "A batch failed")
        elif one.status in _NOT_GOOD or one.published_day is None:
            yield _of_batch(one, now, hours)
        elif one.published_day > latest_today(now):
            text = f"{name} is published as of {one.published_day}, a day in the future; run the ingest of today"
            yield HealthReason("attention", text, "The clock was wrong", one.batch_id)
        elif nights_missed(one.published_day, now, hours):
            late[one.published_day].append(name)
    for published, names in late.items():
        missed = nights_missed(published, now, hours)
        text = f"Nothing of {', '.join(names)} came after {published}: {_count(missed, 'night')} missed"
        yield HealthReason(_by_nights(missed), text, "Nothing was published")


def _of_batch(one: EndpointStatus, now: datetime, hours: float) -> HealthReason:
    """The newest batch of an endpoint is not published."""
    section: Section = "A batch is blocked" if one.status == "blocked" else "A batch failed"
    if one.published_day is None:
        return HealthReason(
            "attention", f"{one.batch_id} is {one.status}, and none was published before", section, one.batch_id
        )
    text = f"{one.batch_id} is {one.status}; {one.endpoint} is as of {one.published_day}"
    return HealthReason(_by_nights(nights_missed(one.published_day, now, hours)), text, section, one.batch_id)


def _by_nights(missed: int) -> HealthState:
    return "broken" if missed >= _NIGHTS_TO_BREAK else "attention"


def _of_runs(data: PageData) -> Iterator[HealthReason]:
    ended = {run.flow: run for run in data.last_runs}
    for run in data.last_runs:
        if run.outcome == "failed":
            text = f"The last run of {run.flow} failed, {_moment(run.started_at)}"
            yield HealthReason("attention", text, "Where to look")
    for lost in data.unfinished_runs:
        later = ended.get(lost.flow)
        if not lost.at_work and (later is None or later.run_id < lost.run_id):
            text = f"{lost.flow}, begun {_moment(lost.started_at)}, never came to an end, and none did since"
            section: Section = "A training was cut off" if lost.flow == "retrain" else _KILLED
            yield HealthReason("attention", text, section)


def _of_lists(data: PageData, now: datetime) -> Iterator[HealthReason]:
    for newest in data.newest_publication:
        if newest.status == "blocked":
            text = f"The newest lists (publication {newest.publication_id}) are blocked; those before stay live"
            yield HealthReason("attention", text, "A list of recommendations is blocked")
    if not data.endpoints:
        return
    if not data.live_publications:
        yield HealthReason("attention", "No recommendations are published yet", "Where to look")
        return
    live_from = data.live_publications[0].live_from
    if is_ahead(live_from, now):
        text = f"The lists that are live went live by a clock that was ahead ({_moment(live_from)}); make new ones"
        yield HealthReason("attention", f"{text}: .venv/bin/python -m flows.recommend", "The clock was wrong")
        return
    # Lists are made when something was published. While nothing changes, the old ones are right.
    changed = any(live_from.date() < day < now.date() for day in _published_days(data, *ENDPOINTS))
    if changed and now - live_from > _DAYS_OF_LISTS:
        text = f"The lists that are live are of {_moment(live_from)}, and were not refreshed since"
        yield HealthReason("attention", text, "Where to look")


def _of_quality(data: PageData, now: datetime) -> Iterator[HealthReason]:
    for alarm in data.alarms:
        if alarm.answer is None:
            text = f"Quality fell: {alarm.metric} {alarm.value:.3f} on {alarm.day}, usually {alarm.baseline:.3f}"
            yield HealthReason("attention", f"{text}; a training is to answer", "Quality fell: an alarm")
    days = [decision.day for decision in data.decisions if decision.kind == "day"]
    # No day is judged before it is over: one that is not was written down while the clock was ahead.
    judged = max((day for day in days if day < now.date()), default=None)
    # A day is judged when listens were published, not while they stay the same.
    heard = [day for day in _published_days(data, "listen_history") if judged is not None and day > judged]
    if len(heard) > _DAYS_UNJUDGED:
        text = f"No day after {judged} was judged, though listens up to {max(heard)} are there"
        yield HealthReason("attention", text, "A day was not judged")


def _published_days(data: PageData, *endpoints: str) -> list[date]:
    """The days of the last thirty that brought something new."""
    return [one.day for one in data.batches if one.endpoint in endpoints and one.status == "published"]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
