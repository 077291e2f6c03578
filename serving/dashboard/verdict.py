"""Is it healthy? Nothing but the rules: from the figures and the open alerts to one word, with reasons."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

from core.clock import is_ahead
from serving.dashboard.alerts import OpenAlerts
from serving.dashboard.figures import PARIS, Endpoint, Figures, latest_today

State = Literal["healthy", "attention", "broken"]
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
class Reason:
    """Why it is not healthy, the heading of the runbook that says what to do (None: the alerts on the page do), and the
    batch that it is about."""

    state: State
    text: str
    runbook: Section | None
    batch_id: str | None = None


@dataclass(frozen=True)
class Verdict:
    """The worst of the reasons, which come worst first."""

    state: State
    reasons: Sequence[Reason] = ()


def judge(figures: Figures, alerts: OpenAlerts, now: datetime, hours: float = _HOURS) -> Verdict:
    """What the figures come to. `hours` is ALERT_PUBLISHED_WITHIN_HOURS."""
    found = [
        *_of_alerts(alerts),
        *_of_endpoints(figures, now, hours),
        *_of_runs(figures),
        *_of_lists(figures, now),
        *_of_quality(figures, now),
    ]
    return _worst(found)


def judge_without_figures(alerts: OpenAlerts, *, refused: bool) -> Verdict:
    """It is broken, whatever else: the database is away, or refuses what is asked of it."""
    away = Reason(
        "broken",
        "The database does not answer: nothing can be recommended, published or shown here",
        "The database does not answer",
    )
    wrong = Reason("broken", "The database refuses what this page asks: its schema is not up to date", "Where to look")
    return _worst([wrong if refused else away, *_of_alerts(alerts)])


def _worst(reasons: Sequence[Reason]) -> Verdict:
    ordered = sorted(reasons, key=lambda reason: reason.state != "broken")
    return Verdict(ordered[0].state if ordered else "healthy", ordered)


def nights_missed(published: date, now: datetime, hours: float = _HOURS) -> int:
    """How many nights' ingests should have published a later day by now, and did not.

    With `hours` of several days, nights between are none; with less than a day, each day still has one night.
    """
    allowed = timedelta(hours=hours if hours >= 24 else _HOURS)
    due = datetime.combine(published, _BEGIN) + allowed
    local = now.astimezone(PARIS).replace(tzinfo=None)
    return 0 if local < due else 1 + (local - due) // timedelta(days=allowed.days)


def _of_alerts(alerts: OpenAlerts) -> Iterator[Reason]:
    critical = sum(alert.severity == "critical" for alert in alerts.alerts)
    warnings = len(alerts.alerts) - critical
    if critical:
        yield Reason("broken", f"{_count(critical, 'critical alert')} open", None)
    if warnings:
        yield Reason("attention", f"{_count(warnings, 'warning')} open", None)
    if alerts.unreadable:
        text = f"The list of open alerts cannot be read: {alerts.unreadable}"
        yield Reason("attention", text, "Where to look")
    if alerts.unwatched:
        yield Reason("attention", alerts.unwatched, "The watch does not look")


def _of_endpoints(figures: Figures, now: datetime, hours: float) -> Iterator[Reason]:
    known = {one.endpoint: one for one in figures.endpoints}
    if not known:
        yield Reason("attention", "Nothing came in yet; .venv/bin/python -m flows.ingest begins", "Where to look")
        return
    late: dict[date, list[str]] = defaultdict(list)
    for name in ENDPOINTS:
        one = known.get(name)
        if one is None:
            yield Reason("attention", f"No batch of {name} ever came in", "A batch failed")
        elif one.status in _NOT_GOOD or one.published_day is None:
            yield _of_batch(one, now, hours)
        elif one.published_day > latest_today(now):
            text = f"{name} is published as of {one.published_day}, a day in the future; run the ingest of today"
            yield Reason("attention", text, "The clock was wrong", one.batch_id)
        elif nights_missed(one.published_day, now, hours):
            late[one.published_day].append(name)
    for published, names in late.items():
        missed = nights_missed(published, now, hours)
        text = f"Nothing of {', '.join(names)} came after {published}: {_count(missed, 'night')} missed"
        yield Reason(_by_nights(missed), text, "Nothing was published")


def _of_batch(one: Endpoint, now: datetime, hours: float) -> Reason:
    """The newest batch of an endpoint is not published."""
    section: Section = "A batch is blocked" if one.status == "blocked" else "A batch failed"
    if one.published_day is None:
        return Reason(
            "attention", f"{one.batch_id} is {one.status}, and none was published before", section, one.batch_id
        )
    text = f"{one.batch_id} is {one.status}; {one.endpoint} is as of {one.published_day}"
    return Reason(_by_nights(nights_missed(one.published_day, now, hours)), text, section, one.batch_id)


def _by_nights(missed: int) -> State:
    return "broken" if missed >= _NIGHTS_TO_BREAK else "attention"


def _of_runs(figures: Figures) -> Iterator[Reason]:
    ended = {run.flow: run for run in figures.last_runs}
    for run in figures.last_runs:
        if run.outcome == "failed":
            text = f"The last run of {run.flow} failed, {_moment(run.started_at)}"
            yield Reason("attention", text, "Where to look")
    for lost in figures.open_runs:
        later = ended.get(lost.flow)
        if not lost.at_work and (later is None or later.run_id < lost.run_id):
            text = f"{lost.flow}, begun {_moment(lost.started_at)}, never came to an end, and none did since"
            section: Section = "A training was cut off" if lost.flow == "retrain" else _KILLED
            yield Reason("attention", text, section)


def _of_lists(figures: Figures, now: datetime) -> Iterator[Reason]:
    for newest in figures.newest_lists:
        if newest.status == "blocked":
            text = f"The newest lists (publication {newest.publication_id}) are blocked; those before stay live"
            yield Reason("attention", text, "A list of recommendations is blocked")
    if not figures.endpoints:
        return
    if not figures.live:
        yield Reason("attention", "No recommendations are published yet", "Where to look")
        return
    live_from = figures.live[0].live_from
    if is_ahead(live_from, now):
        text = f"The lists that are live went live by a clock that was ahead ({_moment(live_from)}); make new ones"
        yield Reason("attention", f"{text}: .venv/bin/python -m flows.recommend", "The clock was wrong")
        return
    # Lists are made when something was published. While nothing changes, the old ones are right.
    changed = any(live_from.date() < day < now.date() for day in _published_days(figures, *ENDPOINTS))
    if changed and now - live_from > _DAYS_OF_LISTS:
        text = f"The lists that are live are of {_moment(live_from)}, and were not refreshed since"
        yield Reason("attention", text, "Where to look")


def _of_quality(figures: Figures, now: datetime) -> Iterator[Reason]:
    for alarm in figures.alarms:
        if alarm.answer is None:
            text = f"Quality fell: {alarm.metric} {alarm.value:.3f} on {alarm.day}, usually {alarm.baseline:.3f}"
            yield Reason("attention", f"{text}; a training is to answer", "Quality fell: an alarm")
    days = [decision.day for decision in figures.decisions if decision.kind == "day"]
    # No day is judged before it is over: one that is not was written down while the clock was ahead.
    judged = max((day for day in days if day < now.date()), default=None)
    # A day is judged when listens were published, not while they stay the same.
    heard = [day for day in _published_days(figures, "listen_history") if judged is not None and day > judged]
    if len(heard) > _DAYS_UNJUDGED:
        text = f"No day after {judged} was judged, though listens up to {max(heard)} are there"
        yield Reason("attention", text, "A day was not judged")


def _published_days(figures: Figures, *endpoints: str) -> list[date]:
    """The days of the last thirty that brought something new."""
    return [one.day for one in figures.batches if one.endpoint in endpoints and one.status == "published"]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
