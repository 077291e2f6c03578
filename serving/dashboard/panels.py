"""What each chart shows: its finding in words, its figures as a table, and the values that are drawn."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from serving.dashboard.figures import Alarm, Figures, TaskCost, Value
from serving.dashboard.verdict import ENDPOINTS

NAMES = {"tracks": "Tracks", "users": "Users", "listen_history": "Listening sessions"}
_STEPS_SHOWN = 12
_BAD = {"blocked": "blocked", "failed": "failed"}


@dataclass(frozen=True)
class Panel:
    """A figure of the page. `drawing` is the chart's name and its values; None: there is nothing to draw yet."""

    key: str
    title: str
    finding: str
    head: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()
    drawing: tuple[str, dict[str, Any]] | None = None
    columns_of_text: frozenset[int] = field(default=frozenset({0}))


def make_panels(figures: Figures) -> list[Panel]:
    """All of them, in the order of the page."""
    return [
        _rows_in(figures),
        _rejected(figures),
        _expectations(figures),
        _steps(figures),
        _runs(figures),
        *_quality(figures),
        _coverage(figures),
    ]


def _rows_in(figures: Figures) -> Panel:
    title = "Rows in and blocked"
    if not figures.batches:
        return Panel("rows", title, _nothing(figures, "no batch came in"))
    blocked = [one for one in figures.batches if one.status in _BAD]
    days = sorted({one.day for one in figures.batches})
    mended = [one for one in figures.batches if one.was_blocked and one.status not in _BAD]
    finding = f"{_count(len(figures.batches), 'batch', 'batches')} on {_count(len(days), 'day')}"
    finding += f"; {_count(len(blocked), 'batch', 'batches')} blocked or failed" if blocked else "; none is blocked"
    if blocked:
        finding += f", the newest {max(blocked, key=lambda one: one.day).batch_id}"
    if mended:
        finding += f"; {_count(len(mended), 'batch was', 'batches were')} blocked first and then mended"
    by_day = _by_day_and_endpoint(figures)
    rows = [
        (str(day), *(_rows_and_status(by_day.get((day, name))) for name in ENDPOINTS)) for day in reversed(figures.days)
    ]
    values = [
        {
            "day": str(one.day),
            "endpoint": NAMES[one.endpoint],
            "rows": one.rows_landed,
            "state": _BAD.get(one.status, "in"),
        }
        for one in figures.batches
    ]
    head = ("Day", *(NAMES[name] for name in ENDPOINTS))
    return Panel("rows", title, finding + ".", head, rows, ("rows", _drawing(figures, values)))


def _rejected(figures: Figures) -> Panel:
    title = "Rejected rows and plays"
    if not figures.batches:
        return Panel("rejected", title, _nothing(figures, "no batch came in"))
    landed = sum(one.rows_landed for one in figures.batches)
    rejected = sum(one.rows_rejected for one in figures.batches)
    plays = sum(one.plays_rejected for one in figures.batches)
    finding = f"{rejected:,} of {landed:,} rows rejected ({_percent(rejected, landed)}), and {_count(plays, 'play')}."
    worst = max(figures.batches, key=lambda one: one.rows_rejected)
    if worst.rows_rejected:
        finding += f" Most in {worst.batch_id}: {worst.rows_rejected:,}."
    by_day = _by_day_and_endpoint(figures)
    rows = []
    for day in reversed(figures.days):
        batches = [by_day.get((day, name)) for name in ENDPOINTS]
        cells = [f"{one.rows_rejected:,}" if one else "-" for one in batches]
        heard = batches[-1]
        rows.append((str(day), *cells, f"{heard.plays_rejected:,}" if heard else "-"))
    head = ("Day", *(NAMES[name] for name in ENDPOINTS), "Plays")
    values = [
        {"day": str(one.day), "endpoint": NAMES[one.endpoint], "rows": one.rows_rejected} for one in figures.batches
    ]
    drawing = ("rejected", _drawing(figures, values)) if rejected else None
    return Panel("rejected", title, finding, head, rows, drawing)


def _expectations(figures: Figures) -> Panel:
    title = "Expectations failing"
    if not figures.expectations_by_day:
        return Panel("expectations", title, _nothing(figures, "nothing was audited"))
    days = figures.expectations_by_day
    critical, warning = sum(day.critical for day in days), sum(day.warning for day in days)
    judged = sum(day.judged for day in days)
    if critical or warning:
        last = max(day.day for day in days if day.critical or day.warning)
        finding = f"Of {judged:,} judged, {critical} critical and {warning} warning failed, last on {last}."
    else:
        finding = f"All {judged:,} that were judged hold."
    values = [
        {"day": str(day.day), "severity": severity, "failing": getattr(day, severity)}
        for day in days
        for severity in ("critical", "warning")
    ]
    rows = [(str(day.day), str(day.critical), str(day.warning), str(day.judged)) for day in reversed(days)]
    drawing = ("expectations", _drawing(figures, values)) if critical or warning else None
    return Panel("expectations", title, finding, ("Day", "Critical", "Warning", "Judged"), rows, drawing)


def _steps(figures: Figures) -> Panel:
    title = "How long each step takes"
    if not figures.task_costs:
        return Panel("steps", title, _nothing(figures, "no step ran"))
    calls: dict[tuple[str, str], list[TaskCost]] = defaultdict(list)
    for cost in figures.task_costs:
        calls[(cost.flow, cost.task)].append(cost)
    steps = sorted(calls.items(), key=lambda step: -statistics.median(one.seconds for one in step[1]))
    rows, values = [], []
    for (flow, task), costs in steps:
        usual, last, most = (
            statistics.median(one.seconds for one in costs),
            costs[-1],
            max(one.seconds for one in costs),
        )
        name = f"{flow}: {task.replace('_', ' ')}"
        rows.append((name, f"{usual:,.2f}", f"{last.seconds:,.2f}", f"{most:,.2f}", str(len(costs))))
        values.append({"step": name, "usual": round(usual, 3), "last": round(last.seconds, 3)})
    name, usual_seconds, last_seconds, *_ = rows[0]
    finding = f"The longest is {name}, usually {usual_seconds} s and last {last_seconds} s."
    finding += " Bars are the median, lines the last run."
    if len(steps) > _STEPS_SHOWN:
        finding += f" The {_STEPS_SHOWN} longest are drawn; the table has all."
    drawing = ("steps", {"values": values[:_STEPS_SHOWN]})
    head = ("Step", "Median, s", "Last, s", "Longest, s", "Runs")
    return Panel("steps", title, finding, head, rows, drawing)


def _runs(figures: Figures) -> Panel:
    title = "What each run costs"
    if not figures.task_costs:
        return Panel("runs", title, _nothing(figures, "no step ran"))
    runs: dict[int, list[TaskCost]] = defaultdict(list)
    for cost in figures.task_costs:
        runs[cost.run_id].append(cost)
    rows, values, peaks = [], [], []
    for run_id, costs in sorted(runs.items(), reverse=True):
        wall, cpu = sum(one.seconds for one in costs), sum(one.cpu_seconds for one in costs)
        memory = max((one.peak_memory_mb for one in costs if one.peak_memory_mb is not None), default=None)
        began, flow = costs[0].started_at, costs[0].flow
        peaks += [(memory, flow, run_id)] if memory is not None else []
        told = "-" if memory is None else f"{memory:,.0f}"
        rows.append((f"{flow} {run_id}, {began:%Y-%m-%d %H:%M}", f"{wall:,.1f}", f"{cpu:,.1f}", told))
        values.append({"day": str(began.date()), "flow": flow, "cpu": round(cpu, 2), "memory": memory})
    finding = f"{_count(len(runs), 'run')}; "
    if peaks:
        memory, flow, run_id = max(peaks)
        finding += f"the most memory was {memory:,.0f} MiB, of {flow} (run {run_id}), the last run took "
        finding += f"{rows[0][2]} s of CPU."
    else:
        finding += f"the last took {rows[0][2]} s of CPU; memory is not told by this system."
    head = ("Run", "Steps, s", "CPU, s", "Peak memory, MiB")
    return Panel("runs", title, finding, head, rows, ("runs", _drawing(figures, values)))


def _quality(figures: Figures) -> list[Panel]:
    described = ((figures.watched, "Quality: how well lists foresee plays"), ("useful", "Quality: useful answers"))
    return [_metric(figures, metric, title) for metric, title in described]


def _metric(figures: Figures, metric: str, title: str) -> Panel:
    key = "useful" if metric == "useful" else "ndcg"
    series = [value for value in figures.quality if value.metric == metric]
    alarms = [alarm for alarm in figures.alarms if alarm.metric == metric]
    if not series:
        return Panel(key, title, f"{metric}: {_nothing(figures, 'no day was measured', start=False)}")
    last = series[-1]
    finding = f"{metric} was {_bounded(last)} on {last.day}."
    finding += "".join(f" {_told(alarm)}" for alarm in alarms) or " No alarm."
    marked = {live.live_from.date(): live for live in figures.live if _is_new_model(live, figures)}
    rows = [
        (
            str(one.day),
            f"{one.value:.4f}",
            "-" if one.lower is None else f"{one.lower:.4f}",
            "-" if one.upper is None else f"{one.upper:.4f}",
            str(one.users),
            str(one.publication_id),
            _noted(one, alarms, marked),
        )
        for one in reversed(series)
    ]
    values = [{"day": str(one.day), "value": one.value, "lower": one.lower, "upper": one.upper} for one in series]
    shown = set(figures.days)
    marks = [{"day": str(alarm.day), "what": "alarm"} for alarm in alarms if alarm.day in shown]
    marks += [{"day": str(day), "what": "new model"} for day in marked if day in shown]
    drawing = _drawing(figures, values) | {"marks": marks, "late": str(figures.days[len(figures.days) * 2 // 3])}
    head = ("Day", metric, "At least", "At most", "Listeners", "Publication", "Noted")
    return Panel(key, title, finding, head, rows, ("quality", drawing), frozenset({0, 6}))


def _told(alarm: Alarm) -> str:
    answer = {None: "waits for a training", "kept": "answered: the model was kept"}.get(
        alarm.answer, "answered with a new publication"
    )
    return f"Alarm of {alarm.day}, {alarm.value:.3f} instead of {alarm.baseline:.3f}: {answer}."


def _noted(value: Value, alarms: Sequence[Alarm], marked: dict[date, Any]) -> str:
    noted = ["alarm"] if any(alarm.day == value.day for alarm in alarms) else []
    noted += [f"new model: {marked[value.day].model}"] if value.day in marked else []
    return ", ".join(noted + ([] if value.judged else ["not judged"]))


def _is_new_model(live: Any, figures: Figures) -> bool:
    """Whether another model went live, or a publication came back; lists that are made anew each day are no event."""
    before = next((one for one in figures.live if one.live_id < live.live_id), None)
    return before is not None and (
        before.model_run_id != live.model_run_id or before.publication_id > live.publication_id
    )


def _coverage(figures: Figures) -> Panel:
    title = "Coverage"
    if not figures.live or not figures.audience:
        return Panel("coverage", title, "Nothing is drawn yet: no lists are published.")
    live, audience = figures.live[0], figures.audience[0]
    finding = (
        f"{_percent(live.listeners, audience.listeners)} of {_count(audience.listeners, 'listener')} have a list of "
        f"their own; the lists show {_percent(live.tracks_covered, audience.tracks)} of "
        f"{_count(audience.tracks, 'track')}."
    )
    with_list = {one.day: 1 - one.value for one in figures.quality if one.metric == "without_list"}
    shown = {one.day: one.value for one in figures.quality if one.metric.startswith("coverage@")}
    days = sorted(with_list.keys() | shown.keys())
    values = [
        {"day": str(day), "what": what, "share": series[day]}
        for what, series in (("listeners with a list", with_list), ("catalogue shown", shown))
        for day in days
        if day in series
    ]
    rows = [(str(day), _share(with_list.get(day)), _share(shown.get(day))) for day in reversed(days)]
    drawing = ("coverage", _drawing(figures, values)) if values else None
    head = ("Day", "Of the day's listeners, with a list", "Of the catalogue, in the best of all lists")
    return Panel("coverage", title, finding, head, rows, drawing)


def _by_day_and_endpoint(figures: Figures) -> dict[tuple[date, str], Any]:
    return {(one.day, one.endpoint): one for one in figures.batches}


def _rows_and_status(batch: Any) -> str:
    if batch is None:
        return "-"
    state = batch.status if batch.status not in ("published", "unchanged") else ""
    state = state or ("mended" if batch.was_blocked else "")
    return f"{batch.rows_landed:,}" + (f" ({state})" if state else "")


def _drawing(figures: Figures, values: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"values": list(values), "days": [str(figures.days[0]), str(figures.days[-1])]}


def _nothing(figures: Figures, why: str, start: bool = True) -> str:
    text = f"nothing is drawn: {why} in the last {len(figures.days)} days."
    return text[0].upper() + text[1:] if start else text


def _bounded(value: Value) -> str:
    if value.lower is None or value.upper is None:
        return f"{value.value:.3f}"
    return (
        f"{value.value:.3f} (chance leaves {value.lower:.3f} to {value.upper:.3f}, {_count(value.users, 'listener')})"
    )


def _count(number: int, what: str, many: str | None = None) -> str:
    return f"{number:,} {what if number == 1 else many or what + 's'}"


def _percent(part: int, whole: int) -> str:
    return _share(part / whole if whole else 0)


def _share(share: float | None) -> str:
    if share is None:
        return "-"
    return f"{share:.2%}" if 0 < share < 0.01 else f"{share:.1%}"
