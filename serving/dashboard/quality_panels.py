"""How good the lists turned out to be, and whom and what they reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from serving.dashboard.figures import Alarm, Figures, Live, Value
from serving.dashboard.panel import Panel, count, nothing_to_draw, over_days, percent, share


def quality(figures: Figures) -> list[Panel]:
    """What is watched for alarms, each with its bounds, alarms, and what went live."""
    described = ((figures.watched, "Quality: how well lists foresee plays"), ("useful", "Quality: useful answers"))
    return [_metric(figures, metric, title) for metric, title in described]


def _metric(figures: Figures, metric: str, title: str) -> Panel:
    key = "useful" if metric == "useful" else "ndcg"
    series = [value for value in figures.quality if value.metric == metric]
    alarms = [alarm for alarm in figures.alarms if alarm.metric == metric]
    if not series:
        return Panel(key, title, f"{metric}: {nothing_to_draw(figures, 'no day was measured', start=False)}")
    last = series[-1]
    finding = f"{metric} was {_bounded(last)} on {last.day}."
    finding += "".join(f" {_told(alarm)}" for alarm in alarms) or " No alarm."
    marked = {live.live_from.date(): what for live in figures.live if (what := _event(live, figures))}
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
    marks += [{"day": str(day), "what": what} for day, what in marked.items() if day in shown]
    drawing = over_days(figures, values) | {"marks": marks, "late": str(figures.days[len(figures.days) * 2 // 3])}
    head = ("Day", metric, "At least", "At most", "Listeners", "Publication", "Noted")
    return Panel(key, title, finding, head, rows, ("quality", drawing), frozenset({0, 6}))


def _told(alarm: Alarm) -> str:
    answer = {None: "waits for a training", "kept": "answered: the model was kept"}.get(
        alarm.answer, "answered with a new publication"
    )
    return f"Alarm of {alarm.day}, {alarm.value:.3f} instead of {alarm.baseline:.3f}: {answer}."


def _noted(value: Value, alarms: Sequence[Alarm], marked: Mapping[date, str]) -> str:
    noted = ["alarm"] if any(alarm.day == value.day for alarm in alarms) else []
    noted += [marked[value.day]] if value.day in marked else []
    return ", ".join(noted + ([] if value.judged else ["not judged"]))


def _event(live: Live, figures: Figures) -> str | None:
    """What it is to listeners that this went live; that lists were made anew is nothing to note."""
    before = next((one for one in figures.live if one.live_id < live.live_id), None)
    if before is None:
        return None
    if before.publication_id > live.publication_id:
        return "rollback"
    return "new model" if before.model_run_id != live.model_run_id else None


def coverage(figures: Figures) -> Panel:
    """Of the listeners who has a list, of the tracks which are on one."""
    title = "Coverage"
    if not figures.live or not figures.audience:
        return Panel("coverage", title, "Nothing to draw yet: no lists are published.")
    live, audience = figures.live[0], figures.audience[0]
    finding = (
        f"{percent(live.listeners, audience.listeners)} of {count(audience.listeners, 'listener')} have a list of "
        f"their own; the lists show {percent(live.tracks_covered, audience.tracks)} of "
        f"{count(audience.tracks, 'track')}."
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
    rows = [(str(day), share(with_list.get(day)), share(shown.get(day))) for day in reversed(days)]
    drawing = ("coverage", over_days(figures, values)) if values else None
    head = ("Day", "Of the day's listeners, with a list", "Of the catalogue, in the best of all lists")
    return Panel("coverage", title, finding, head, rows, drawing)


def _bounded(value: Value) -> str:
    if value.lower is None or value.upper is None:
        return f"{value.value:.3f}"
    return f"{value.value:.3f} (chance leaves {value.lower:.3f} to {value.upper:.3f}, {count(value.users, 'listener')})"
