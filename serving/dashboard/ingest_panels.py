"""What came in: rows, what was rejected or blocked, and the rules that did not hold."""

from __future__ import annotations

from datetime import date

from serving.dashboard.health_status import ENDPOINTS
from serving.dashboard.page_data import BatchSummary, PageData
from serving.dashboard.panel import Panel, count, nothing_to_draw, over_days, percent

NAMES = {"tracks": "Tracks", "users": "Users", "listen_history": "Listening sessions"}
_BAD = ("blocked", "failed")


def rows_in(data: PageData) -> Panel:
    """Rows of each day's list, and which lists are blocked."""
    title = "Rows in and blocked"
    if not data.batches:
        return Panel("rows", title, nothing_to_draw(data, "no batch came"))
    blocked = [one for one in data.batches if one.status in _BAD]
    days = sorted({one.day for one in data.batches})
    mended = [one for one in data.batches if one.was_blocked and one.status not in _BAD]
    finding = f"{count(len(data.batches), 'batch', 'batches')} on {count(len(days), 'day')}"
    finding += f"; {count(len(blocked), 'batch', 'batches')} blocked or failed" if blocked else "; none is blocked"
    if blocked:
        finding += f", the newest {max(blocked, key=lambda one: one.day).batch_id}"
    if mended:
        finding += f"; {count(len(mended), 'batch was', 'batches were')} blocked first and then mended"
    by_day = _by_day_and_endpoint(data)
    rows = [
        (str(day), *(_rows_and_status(by_day.get((day, name))) for name in ENDPOINTS)) for day in reversed(data.days)
    ]
    values = [
        {
            "day": str(one.day),
            "endpoint": NAMES[one.endpoint],
            "rows": one.rows_landed,
            "state": one.status if one.status in _BAD else "in",
        }
        for one in data.batches
    ]
    head = ("Day", *(NAMES[name] for name in ENDPOINTS))
    return Panel("rows", title, finding + ".", head, rows, ("rows", over_days(data, values)))


def rejected_rows(data: PageData) -> Panel:
    """Rows, and plays of kept sessions, that are not what the contract says."""
    title = "Rejected rows and plays"
    if not data.batches:
        return Panel("rejected", title, nothing_to_draw(data, "no batch came"))
    landed = sum(one.rows_landed for one in data.batches)
    rejected = sum(one.rows_rejected for one in data.batches)
    plays = sum(one.plays_rejected for one in data.batches)
    finding = f"{rejected:,} of {landed:,} rows rejected ({percent(rejected, landed)}), and {count(plays, 'play')}."
    conflicting = sum(batch.rows_conflicting for batch in data.batches)
    if conflicting:
        finding += f" {count(conflicting, 'row')} set aside for conflicts."
    worst = max(data.batches, key=lambda one: one.rows_rejected)
    if worst.rows_rejected:
        finding += f" Most in {worst.batch_id}: {worst.rows_rejected:,}."
    by_day = _by_day_and_endpoint(data)
    rows = []
    for day in reversed(data.days):
        batches = [by_day.get((day, name)) for name in ENDPOINTS]
        cells = [f"{one.rows_rejected:,}" if one else "-" for one in batches]
        heard = batches[-1]
        conflicts = sum(batch.rows_conflicting for batch in batches if batch)
        plays_of_day = f"{heard.plays_rejected:,}" if heard else "-"
        rows.append((str(day), *cells, plays_of_day, f"{conflicts:,}" if any(batches) else "-"))
    head = ("Day", *(NAMES[name] for name in ENDPOINTS), "Plays", "Conflicting rows")
    values = [{"day": str(one.day), "endpoint": NAMES[one.endpoint], "rows": one.rows_rejected} for one in data.batches]
    chart = ("rejected", over_days(data, values)) if rejected else None
    return Panel("rejected", title, finding, head, rows, chart)


def failing_expectations(data: PageData) -> Panel:
    """How many rules of each day's audits did not hold, by severity."""
    title = "Expectations failing"
    if not data.expectations_by_day:
        return Panel("expectations", title, nothing_to_draw(data, "nothing was audited"))
    days = data.expectations_by_day
    critical, warning = sum(day.critical for day in days), sum(day.warning for day in days)
    judged = sum(day.judged for day in days)
    if critical or warning:
        last = max(day.day for day in days if day.critical or day.warning)
        finding = f"Of {judged:,} judged, {critical} critical and {count(warning, 'warning')} failed, last on {last}."
    else:
        finding = f"All {judged:,} that were judged hold."
    values = [
        {"day": str(day.day), "severity": severity, "failing": failing}
        for day in days
        for severity, failing in (("Critical", day.critical), ("Warning", day.warning))
    ]
    rows = [(str(day.day), str(day.critical), str(day.warning), str(day.judged)) for day in reversed(days)]
    chart = ("expectations", over_days(data, values)) if critical or warning else None
    return Panel("expectations", title, finding, ("Day", "Critical", "Warning", "Judged"), rows, chart)


def _by_day_and_endpoint(data: PageData) -> dict[tuple[date, str], BatchSummary]:
    return {(one.day, one.endpoint): one for one in data.batches}


def _rows_and_status(batch: BatchSummary | None) -> str:
    if batch is None:
        return "-"
    state = batch.status if batch.status not in ("published", "unchanged") else ""
    state = state or ("mended" if batch.was_blocked else "")
    return f"{batch.rows_landed:,}" + (f" ({state})" if state else "")
