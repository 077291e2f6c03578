"""Panels about ingestion: rows, rejected rows, blocked batches, and failed expectations."""

from __future__ import annotations

from datetime import date

from core.endpoints import ENDPOINTS
from serving.dashboard.page_data import BatchSummary, PageData
from serving.dashboard.panel import Panel, count, nothing_to_draw, over_days, percent

NAMES = {"tracks": "Tracks", "users": "Users", "listen_history": "Listening sessions"}
_BAD = ("blocked", "failed")


def rows_in(data: PageData) -> Panel:
    """Landed rows per day, and blocked batches."""
    title = "Landed rows and blocked batches"
    if not data.batches:
        return Panel("rows", title, nothing_to_draw(data, "no batch was ingested"))
    blocked = [batch for batch in data.batches if batch.status in _BAD]
    days = sorted({batch.day for batch in data.batches})
    repaired = [batch for batch in data.batches if batch.was_blocked and batch.status not in _BAD]
    finding = f"{count(len(data.batches), 'batch', 'batches')} on {count(len(days), 'day')}"
    finding += f"; {count(len(blocked), 'batch', 'batches')} blocked or failed" if blocked else "; none blocked"
    if blocked:
        finding += f", the newest {max(blocked, key=lambda batch: batch.day).batch_id}"
    if repaired:
        finding += f"; {count(len(repaired), 'blocked batch was', 'blocked batches were')} replaced later"
    by_day = _by_day_and_endpoint(data)
    rows = [
        (str(day), *(_rows_and_status(by_day.get((day, name))) for name in ENDPOINTS)) for day in reversed(data.days)
    ]
    values = [
        {
            "day": str(batch.day),
            "endpoint": NAMES[batch.endpoint],
            "rows": batch.rows_landed,
            "state": batch.status if batch.status in _BAD else "in",
        }
        for batch in data.batches
    ]
    head = ("Day", *(NAMES[name] for name in ENDPOINTS))
    return Panel("rows", title, finding + ".", head, rows, ("rows", over_days(data, values)))


def rejected_rows(data: PageData) -> Panel:
    """Rejected rows, rejected plays of valid sessions, and rows set aside for conflicts."""
    title = "Rejected rows and plays"
    if not data.batches:
        return Panel("rejected", title, nothing_to_draw(data, "no batch was ingested"))
    landed = sum(batch.rows_landed for batch in data.batches)
    rejected = sum(batch.rows_rejected for batch in data.batches)
    plays = sum(batch.plays_rejected for batch in data.batches)
    finding = f"{rejected:,} of {landed:,} rows rejected ({percent(rejected, landed)}), and {count(plays, 'play')}."
    conflicting = sum(batch.rows_conflicting for batch in data.batches)
    if conflicting:
        finding += f" {count(conflicting, 'row')} set aside for conflicts."
    worst = max(data.batches, key=lambda batch: batch.rows_rejected)
    if worst.rows_rejected:
        finding += f" Most in {worst.batch_id}: {worst.rows_rejected:,}."
    by_day = _by_day_and_endpoint(data)
    rows = []
    for day in reversed(data.days):
        batches = [by_day.get((day, name)) for name in ENDPOINTS]
        cells = [f"{batch.rows_rejected:,}" if batch else "-" for batch in batches]
        sessions = batches[-1]
        conflicts = sum(batch.rows_conflicting for batch in batches if batch)
        plays_of_day = f"{sessions.plays_rejected:,}" if sessions else "-"
        rows.append((str(day), *cells, plays_of_day, f"{conflicts:,}" if any(batches) else "-"))
    head = ("Day", *(NAMES[name] for name in ENDPOINTS), "Plays", "Conflicting rows")
    values = [
        {"day": str(batch.day), "endpoint": NAMES[batch.endpoint], "rows": batch.rows_rejected}
        for batch in data.batches
    ]
    chart = ("rejected", over_days(data, values)) if rejected else None
    return Panel("rejected", title, finding, head, rows, chart)


def failing_expectations(data: PageData) -> Panel:
    """Failed expectations of each day's audits, by severity."""
    title = "Failed expectations"
    if not data.expectations_by_day:
        return Panel("expectations", title, nothing_to_draw(data, "no batch was audited"))
    days = data.expectations_by_day
    critical, warning = sum(day.critical for day in days), sum(day.warning for day in days)
    judged = sum(day.judged for day in days)
    if critical or warning:
        last = max(day.day for day in days if day.critical or day.warning)
        finding = f"{judged:,} checked; {critical} critical and {warning} warning failed, most recently on {last}."
    else:
        finding = f"All {judged:,} checked expectations passed."
    values = [
        {"day": str(day.day), "severity": severity, "failing": failing}
        for day in days
        for severity, failing in (("Critical", day.critical), ("Warning", day.warning))
    ]
    rows = [(str(day.day), str(day.critical), str(day.warning), str(day.judged)) for day in reversed(days)]
    chart = ("expectations", over_days(data, values)) if critical or warning else None
    return Panel("expectations", title, finding, ("Day", "Critical", "Warning", "Checked"), rows, chart)


def _by_day_and_endpoint(data: PageData) -> dict[tuple[date, str], BatchSummary]:
    return {(batch.day, batch.endpoint): batch for batch in data.batches}


def _rows_and_status(batch: BatchSummary | None) -> str:
    if batch is None:
        return "-"
    state = batch.status if batch.status not in ("published", "unchanged") else ""
    state = state or ("blocked, then replaced" if batch.was_blocked else "")
    return f"{batch.rows_landed:,}" + (f" ({state})" if state else "")
