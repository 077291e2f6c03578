"""How good the lists turned out to be, and whom and what they reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from serving.dashboard.page_data import DriftAlarm, LivePublication, PageData, QualityMetric
from serving.dashboard.panel import Panel, count, nothing_to_draw, over_days, percent, share


def quality(data: PageData) -> list[Panel]:
    """What is watched for alarms, each with its bounds, alarms, and what went live."""
    described = ((data.watched, "Quality: how well lists foresee plays"), ("useful", "Quality: useful answers"))
    return [_metric(data, metric, title) for metric, title in described]


def _metric(data: PageData, metric: str, title: str) -> Panel:
    key = "useful" if metric == "useful" else "ndcg"
    series = [value for value in data.quality if value.metric == metric]
    alarms = [alarm for alarm in data.alarms if alarm.metric == metric]
    if not series:
        return Panel(key, title, f"{metric}: {nothing_to_draw(data, 'no day was measured', start=False)}")
    last = series[-1]
    finding = f"{metric} was {_bounded(last)} on {last.day}."
    finding += "".join(f" {_told(alarm)}" for alarm in alarms) or " No alarm."
    marked = {live.live_from.date(): what for live in data.live_publications if (what := _event(live, data))}
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
    shown = set(data.days)
    marks = [{"day": str(alarm.day), "what": "alarm"} for alarm in alarms if alarm.day in shown]
    marks += [{"day": str(day), "what": what} for day, what in marked.items() if day in shown]
    chart = over_days(data, values) | {"marks": marks, "late": str(data.days[len(data.days) * 2 // 3])}
    head = ("Day", metric, "At least", "At most", "Listeners", "Publication", "Noted")
    return Panel(key, title, finding, head, rows, ("quality", chart), frozenset({0, 6}))


def _told(alarm: DriftAlarm) -> str:
    answer = {None: "waits for a training", "kept": "answered: the model was kept"}.get(
        alarm.answer, "answered with a new publication"
    )
    return f"Alarm of {alarm.day}, {alarm.value:.3f} instead of {alarm.baseline:.3f}: {answer}."


def _noted(value: QualityMetric, alarms: Sequence[DriftAlarm], marked: Mapping[date, str]) -> str:
    noted = ["alarm"] if any(alarm.day == value.day for alarm in alarms) else []
    noted += [marked[value.day]] if value.day in marked else []
    return ", ".join(noted + ([] if value.judged else ["not judged"]))


def _event(live: LivePublication, data: PageData) -> str | None:
    """What it is to listeners that this went live; that lists were made anew is nothing to note."""
    before = next((one for one in data.live_publications if one.live_id < live.live_id), None)
    if before is None:
        return None
    if before.publication_id > live.publication_id:
        return "rollback"
    return "new model" if before.model_run_id != live.model_run_id else None


def coverage(data: PageData) -> Panel:
    """Of the listeners who has a list, of the tracks which are on one."""
    title = "Coverage"
    if not data.live_publications or not data.active_counts:
        return Panel("coverage", title, "Nothing to draw yet: no lists are published.")
    live, totals = data.live_publications[0], data.active_counts[0]
    finding = (
        f"{percent(live.listeners, totals.listeners)} of {count(totals.listeners, 'user')} have recommendations of "
        f"their own. The recommendations contain {percent(live.tracks_covered, totals.tracks)} of "
        f"{count(totals.tracks, 'track')}."
    )
    with_list = {one.day: 1 - one.value for one in data.quality if one.metric == "without_list"}
    shown = {one.day: one.value for one in data.quality if one.metric.startswith("coverage@")}
    days = sorted(with_list.keys() | shown.keys())
    values = [
        {"day": str(day), "what": what, "share": series[day]}
        for what, series in (("listeners with a list", with_list), ("catalogue shown", shown))
        for day in days
        if day in series
    ]
    rows = [(str(day), share(with_list.get(day)), share(shown.get(day))) for day in reversed(days)]
    chart = ("coverage", over_days(data, values)) if values else None
    head = ("Day", "Of the day's listeners, with a list", "Of the catalogue, in the best of all lists")
    return Panel("coverage", title, finding, head, rows, chart)


def _bounded(value: QualityMetric) -> str:
    if value.lower is None or value.upper is None:
        return f"{value.value:.3f}"
    return f"{value.value:.3f} (chance leaves {value.lower:.3f} to {value.upper:.3f}, {count(value.users, 'listener')})"
