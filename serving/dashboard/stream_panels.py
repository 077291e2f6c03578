"""The section about streaming: whether a consumer runs, its lag, and panels about plays and latencies of 24 hours."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from core.age_histogram import AGE_BOUNDS, age_quantile
from serving.dashboard.page_data import (
    PERIOD_MINUTES,
    STREAM_HOURS,
    PageData,
    StreamPeriod,
    StreamReport,
    period_of,
)
from serving.dashboard.panel import Panel, count, percent

# A consumer reports every ten seconds, but not while a batch takes longer. The watchdog uses the same limit.
_CURRENT, _SILENCE = timedelta(seconds=30), timedelta(minutes=2)


@dataclass(frozen=True)
class StreamSection:
    """The state in one or two sentences, whether a consumer runs, and the panels."""

    state: str
    is_running: bool
    panels: Sequence[Panel]


def stream_section(data: PageData, now: datetime, *, is_configured: bool) -> StreamSection | None:
    """The section, or None if streaming is off: no broker is configured, and no consumer reports."""
    running = [report for report in data.stream_reports if now - report.written_at <= _SILENCE]
    if not (running or is_configured):
        return None
    current = [report for report in running if now - report.written_at <= _CURRENT]
    state = _running(current or running) if running else _not_running(data.stream_reports, now)
    return StreamSection(state, bool(running), [plays(data, now), latency(data, now)])


def _running(reports: Sequence[StreamReport]) -> str:
    consumers = "1 consumer is running" if len(reports) == 1 else f"{len(reports)} consumers are running"
    messages, seconds = [report.lag_messages for report in reports], max(report.lag_seconds for report in reports)
    waiting_messages = sum(waiting or 0 for waiting in messages)
    parts = [count(waiting_messages, "message")] if waiting_messages and None not in messages else []
    parts += [_seconds(seconds)] if seconds else []
    return f"{consumers}. Lag: {', '.join(parts) or 'none'}."


def _not_running(reports: Sequence[StreamReport], now: datetime) -> str:
    if not reports:
        return f"No consumer is running. None reported in the last {STREAM_HOURS} hours."
    minutes = int((now - reports[0].written_at).total_seconds() // 60)
    return f"No consumer is running. The last report came {count(minutes, 'minute')} ago."


def plays(data: PageData, now: datetime) -> Panel:
    """Plays per minute, and rejected messages."""
    title, periods = "Streamed plays per minute", data.stream_periods
    messages = sum(period.messages for period in periods)
    if not messages:
        return Panel("streamed", title, f"No message was consumed in the last {STREAM_HOURS} hours.")
    rejected = sum(period.rejected for period in periods)
    finding = (
        f"{count(sum(period.plays for period in periods), 'play')} in {count(messages, 'message')}; "
        f"{rejected:,} rejected ({percent(rejected, messages)})."
    )
    by_start = {period.period: period for period in periods}
    values = [
        {"at": start.isoformat(), "plays": by_start[start].plays / PERIOD_MINUTES if start in by_start else 0}
        for start in _ended_periods(now)
    ]
    rows = [
        (
            f"{hour:%d %b %H:00}",
            f"{sum(period.plays for period in of_hour):,}",
            f"{sum(period.messages for period in of_hour):,}",
            f"{sum(period.rejected for period in of_hour):,}",
            percent(sum(period.rejected for period in of_hour), sum(period.messages for period in of_hour)),
            _seconds(max(period.lag_seconds for period in of_hour)),
        )
        for hour, of_hour in _by_hour(periods)
    ]
    head = ("Hour (UTC)", "Plays", "Messages", "Rejected", "Share", "Longest lag")
    chart = ("streamed", _over_hours(now, values)) if any(value["plays"] for value in values) else None
    return Panel("streamed", title, finding, head, rows, chart)


def latency(data: PageData, now: datetime) -> Panel:
    """Time from the sending of a message to its commit, and to the fresh recommendations of its user."""
    title, periods = "Latency of streamed plays", data.stream_periods
    commits, lists = _sum(period.commit_ages for period in periods), _sum(period.list_ages for period in periods)
    if not sum(commits):
        return Panel("latency", title, f"No message was consumed in the last {STREAM_HOURS} hours.")
    finding = f"From play to database: median {_quantile(commits, 0.5)}, p99 {_quantile(commits, 0.99)}."
    if sum(lists):
        finding += f" From play to recommendations: median {_quantile(lists, 0.5)}, p99 {_quantile(lists, 0.99)}."
    ended = set(_ended_periods(now))
    values = [
        {"at": period.period.isoformat(), "what": name, "seconds": min(seconds, AGE_BOUNDS[-1])}
        for period in periods
        if period.period in ended
        for name, share in (("median", 0.5), ("p99", 0.99))
        if (seconds := age_quantile(period.list_ages, share)) is not None
    ]
    rows = [
        (
            f"{hour:%d %b %H:00}",
            *(_quantile(_sum(period.commit_ages for period in of_hour), share) for share in (0.5, 0.99)),
            *(_quantile(_sum(period.list_ages for period in of_hour), share) for share in (0.5, 0.99)),
        )
        for hour, of_hour in _by_hour(periods)
    ]
    head = ("Hour (UTC)", "Database: median", "p99", "Recommendations: median", "p99")
    return Panel("latency", title, finding, head, rows, ("latency", _over_hours(now, values)) if values else None)


def _ended_periods(now: datetime) -> list[datetime]:
    """The starts of the periods that ended in the last 24 hours. Their charts change only every ten minutes."""
    last = period_of(now)
    periods = STREAM_HOURS * 60 // PERIOD_MINUTES
    return [last - timedelta(minutes=PERIOD_MINUTES * number) for number in range(periods, 0, -1)]


def _over_hours(now: datetime, values: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The data of a chart over 24 hours."""
    end = period_of(now)
    return {"values": list(values), "hours": [(end - timedelta(hours=STREAM_HOURS)).isoformat(), end.isoformat()]}


def _by_hour(periods: Sequence[StreamPeriod]) -> list[tuple[datetime, list[StreamPeriod]]]:
    """The periods of each hour, newest hour first."""
    hours: dict[datetime, list[StreamPeriod]] = {}
    for period in reversed(periods):
        hours.setdefault(period.period.astimezone(UTC).replace(minute=0), []).append(period)
    return list(hours.items())


def _sum(histograms: Iterable[Sequence[int]]) -> list[int]:
    return [sum(step) for step in zip(*histograms, strict=True)]


def _quantile(counts: Sequence[int], share: float) -> str:
    age = age_quantile(counts, share)
    return "-" if age is None else _seconds(age)


def _seconds(seconds: float) -> str:
    if math.isinf(seconds):
        return f"more than {AGE_BOUNDS[-1]:g} s"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:,.0f} s"
