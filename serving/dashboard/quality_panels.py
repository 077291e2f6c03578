"""Panels about recommendations: quality metrics, drift alarms, and coverage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from serving.dashboard.page_data import DriftAlarm, LivePublication, PageData, QualityMetric
from serving.dashboard.panel import Panel, count, nothing_to_draw, over_days, percent, share


def quality(data: PageData) -> list[Panel]:
    """One panel per monitored metric, with confidence bounds, alarms, and publications."""
    metrics = (
        (data.watched, "Quality: recommendations that were played"),
        ("useful", "Quality: recommendations rated useful"),
    )
    return [_metric(data, metric, title) for metric, title in metrics]


def _metric(data: PageData, metric: str, title: str) -> Panel:
    key = "useful" if metric == "useful" else "ndcg"
    series = [value for value in data.quality if value.metric == metric]
    alarms = [alarm for alarm in data.alarms if alarm.metric == metric]
    if not series:
        return Panel(key, title, nothing_to_draw(data, "no day was evaluated"))
    last = series[-1]
    finding = f"{metric} was {_bounded(last)} on {last.day}."
    finding += "".join(f" {_describe_alarm(alarm)}" for alarm in alarms) or " No alarm."
    events = {live.live_from.date(): event for live in data.live_publications if (event := _event(live, data))}
    rows = [
        (
            str(metric_of_day.day),
            f"{metric_of_day.value:.4f}",
            "-" if metric_of_day.lower is None else f"{metric_of_day.lower:.4f}",
            "-" if metric_of_day.upper is None else f"{metric_of_day.upper:.4f}",
            str(metric_of_day.users),
            str(metric_of_day.publication_id),
            _notes(metric_of_day, alarms, events),
        )
        for metric_of_day in reversed(series)
    ]
    values = [
        {
            "day": str(metric_of_day.day),
            "value": metric_of_day.value,
            "lower": metric_of_day.lower,
            "upper": metric_of_day.upper,
        }
        for metric_of_day in series
    ]
    shown = set(data.days)
    marks = [{"day": str(alarm.day), "what": "alarm"} for alarm in alarms if alarm.day in shown]
    marks += [{"day": str(day), "what": event} for day, event in events.items() if day in shown]
    chart = over_days(data, values) | {"marks": marks, "late": str(data.days[len(data.days) * 2 // 3])}
    head = ("Day", metric, "Lower bound", "Upper bound", "Users", "Publication", "Notes")
    return Panel(key, title, finding, head, rows, ("quality", chart), frozenset({0, 6}))


def _describe_alarm(alarm: DriftAlarm) -> str:
    answer = {None: "waiting for a training", "kept": "a training kept the model"}.get(
        alarm.answer, "answered by a new publication"
    )
    return f"Alarm on {alarm.day}: {alarm.value:.3f}, baseline {alarm.baseline:.3f}; {answer}."


def _notes(value: QualityMetric, alarms: Sequence[DriftAlarm], events: Mapping[date, str]) -> str:
    notes = ["alarm"] if any(alarm.day == value.day for alarm in alarms) else []
    notes += [events[value.day]] if value.day in events else []
    return ", ".join(notes + ([] if value.judged else ["not evaluated"]))


def _event(live: LivePublication, data: PageData) -> str | None:
    """A rollback or a new model. A refresh by the same model is not shown."""
    previous = next((earlier for earlier in data.live_publications if earlier.live_id < live.live_id), None)
    if previous is None:
        return None
    if previous.publication_id > live.publication_id:
        return "rollback"
    return "new model" if previous.model_run_id != live.model_run_id else None


def coverage(data: PageData) -> Panel:
    """Shares of users with recommendations of their own, and of tracks that are recommended."""
    title = "Coverage"
    if not data.live_publications or not data.active_counts:
        return Panel("coverage", title, "Nothing to draw yet: no recommendations are published.")
    live, totals = data.live_publications[0], data.active_counts[0]
    finding = (
        f"{percent(live.listeners, totals.users)} of {count(totals.users, 'user')} have recommendations of "
        f"their own. The recommendations contain {percent(live.tracks_covered, totals.tracks)} of "
        f"{count(totals.tracks, 'track')}."
    )
    share_with_list = {
        metric_of_day.day: 1 - metric_of_day.value
        for metric_of_day in data.quality
        if metric_of_day.metric == "without_list"
    }
    shown = {
        metric_of_day.day: metric_of_day.value
        for metric_of_day in data.quality
        if metric_of_day.metric.startswith("coverage@")
    }
    days = sorted(share_with_list.keys() | shown.keys())
    values = [
        {"day": str(day), "what": name, "share": series[day]}
        for name, series in (("users with own recommendations", share_with_list), ("catalogue recommended", shown))
        for day in days
        if day in series
    ]
    rows = [(str(day), share(share_with_list.get(day)), share(shown.get(day))) for day in reversed(days)]
    chart = ("coverage", over_days(data, values)) if values else None
    head = ("Day", "Active users with own recommendations", "Catalogue among the top recommendations")
    return Panel("coverage", title, finding, head, rows, chart)


def _bounded(value: QualityMetric) -> str:
    if value.lower is None or value.upper is None:
        return f"{value.value:.3f}"
    return (
        f"{value.value:.3f} (confidence interval {value.lower:.3f} to {value.upper:.3f}, {count(value.users, 'user')})"
    )
