"""Recommendation quality per day: read from the database, printed as a table, and drawn as a plot with events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from psycopg.rows import class_row
from rich.console import Console
from rich.table import Table

from core.database import Connection

_LAST_DAYS = 4
_WIDTH = 40
_DAYS = """
select decision.day, decision.verdict, plays.value as ndcg, plays.lower, plays.upper, feedback.value as useful,
    feedback.lower as useful_lower, feedback.upper as useful_upper
from ml.decisions as decision
left join ml.quality_metrics as plays on plays.day = decision.day and plays.metric = 'ndcg@20'
left join ml.quality_metrics as feedback on feedback.day = decision.day and feedback.metric = 'useful'
where decision.kind = 'day'
order by decision.day
"""
_ALARMS = "select metric, day, answer, baseline from ml.alarms order by alarm_id"
_TRAININGS = "select started_at::date, cause, decision from ml.model_runs order by model_run_id"
_BLOCKED = "select day from ops.batches where endpoint = 'listen_history' and status = 'blocked' order by day"


@dataclass(frozen=True)
class DailyFigures:
    """The decision of the monitor for a day, and the metrics with their 95 % intervals."""

    day: date
    verdict: str
    ndcg: float | None
    lower: float | None
    upper: float | None
    useful: float | None
    useful_lower: float | None
    useful_upper: float | None


@dataclass(frozen=True)
class AlarmOutcome:
    """A drift alarm, and the result of the training that answered it."""

    metric: str
    day: date
    answer: str | None
    baseline: float


@dataclass(frozen=True)
class QualityHistory:
    """The results of all days. `trainings` are (day, cause, decision); `runs` are flow runs started by an event."""

    days: Sequence[DailyFigures]
    alarms: Sequence[AlarmOutcome]
    trainings: Sequence[tuple[date, str, str]]
    blocked: Sequence[date]
    runs: Sequence[dict[str, Any]]

    @property
    def baseline(self) -> float:
        """The baseline of ndcg@20 before the alarm."""
        return self.alarms[0].baseline if self.alarms else float("nan")

    @property
    def latest_mean(self) -> float:
        """The mean ndcg@20 of the last days."""
        measured = [day.ndcg for day in self.days if day.ndcg is not None][-_LAST_DAYS:]
        return sum(measured) / len(measured) if measured else float("nan")

    def as_json(self) -> dict[str, Any]:
        """The history as JSON values."""
        content = asdict(self) | {"usual": self.baseline, "now": self.latest_mean}
        content["runs"] = [{name: run[name] for name in ("name", "state_type", "parameters")} for run in self.runs]
        json_values: dict[str, Any] = _as_json_value(content)
        return json_values


def read_quality_history(connection: Connection, runs: Sequence[dict[str, Any]]) -> QualityHistory:
    """Read the history from the database."""
    days = connection.cursor(row_factory=class_row(DailyFigures)).execute(_DAYS).fetchall()
    alarms = connection.cursor(row_factory=class_row(AlarmOutcome)).execute(_ALARMS).fetchall()
    trainings = connection.execute(_TRAININGS).fetchall()
    blocked = [row[0] for row in connection.execute(_BLOCKED)]
    return QualityHistory(days, alarms, trainings, blocked, runs)


def print_quality_history(history: QualityHistory, console: Console, outage: date, shift: date) -> None:
    """Print one line per day."""
    table = Table(title="Quality day by day", title_justify="left", title_style="bold", show_edge=False)
    table.add_column("day", no_wrap=True)
    table.add_column("ndcg@20", justify="right")
    table.add_column("", no_wrap=True, width=_WIDTH)
    table.add_column("useful", justify="right")
    table.add_column("events")
    highest = max((day.ndcg for day in history.days if day.ndcg is not None), default=1.0)
    for day in history.days:
        bar = "" if day.ndcg is None else "█" * round(_WIDTH * day.ndcg / highest)
        style = {"alarm": "red", "not-judged": "yellow"}.get(day.verdict, "green" if day.verdict == "steady" else "dim")
        figures = ["" if value is None else f"{value:.3f}" for value in (day.ndcg, day.useful)]
        events = _events(day, history, outage, shift)
        table.add_row(str(day.day), figures[0], f"[{style}]{bar}[/]", figures[1], events)
    console.print()
    console.print(table)
    console.print(
        f"\nndcg@20: baseline {history.baseline:.4f}, mean of the last {_LAST_DAYS} days {history.latest_mean:.4f}"
    )


def _events(day: DailyFigures, history: QualityHistory, outage: date, shift: date) -> str:
    events = []
    if day.day == outage:
        events.append("outage: half of the sessions are missing; blocked, not evaluated")
    if day.day == shift:
        events.append("half of the users change taste")
    for alarm in history.alarms:
        if alarm.day == day.day:
            events.append(f"drift alarm; training result: {alarm.answer}")
    return "; ".join(events)


def draw_quality_history(history: QualityHistory, file: Path, outage: date, shift: date) -> None:
    """Write the plot as PNG: both metrics with their intervals, and a line for each event."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.dates import DateFormatter
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(10, 6), layout="constrained")
    FigureCanvasAgg(canvas)
    ndcg_axes, useful_axes = canvas.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _line(ndcg_axes, [(day.day, day.ndcg, day.lower, day.upper) for day in history.days], "#0072B2")
    useful = [(day.day, day.useful, day.useful_lower, day.useful_upper) for day in history.days]
    _line(useful_axes, useful, "#009E73")
    ndcg_axes.axhline(history.baseline, color="grey", linewidth=1, linestyle=":", label="baseline before the alarm")
    events = [
        (outage, "#999999", "--", "outage: blocked"),
        (shift, "#E69F00", "--", "half of the users change taste"),
    ]
    events += [(alarm.day, "#D55E00", "-", f"alarm: {alarm.metric}") for alarm in history.alarms]
    events += [
        (day, "#CC79A7", "-", "new model published")
        for day, cause, decision in history.trainings
        if cause == "degradation" and decision == "published"
    ]
    for axes in (ndcg_axes, useful_axes):
        for day, colour, style, label in events:
            axes.axvline(_noon(day), color=colour, linestyle=style, linewidth=1.8, label=label)
        axes.grid(visible=True, alpha=0.25)
    ndcg_axes.set(
        title="Quality of the published recommendations, with 95 % intervals", ylabel="ndcg@20", ylim=(0, None)
    )
    useful_axes.set(ylabel="share of useful feedback", ylim=(0, 1))
    useful_axes.xaxis.set_major_formatter(DateFormatter("%d %b"))  # type: ignore[no-untyped-call]
    handles, labels = ndcg_axes.get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9)
    canvas.savefig(file, dpi=110, metadata={"Software": None})


def _line(axes: Any, values: Sequence[tuple[date, float | None, float | None, float | None]], colour: str) -> None:
    measured = [(_noon(day), value, lower, upper) for day, value, lower, upper in values if value is not None]
    if not measured:
        return
    days, means, lower, upper = zip(*measured, strict=True)
    axes.fill_between(days, lower, upper, color=colour, alpha=0.2, linewidth=0)
    axes.plot(days, means, color=colour, marker="o", markersize=3.5, linewidth=1.8)


def _noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12)


def _as_json_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_json_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json_value(item) for item in value]
    return str(value) if isinstance(value, date) else value
