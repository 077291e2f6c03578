"""Quality over the weeks: read from the database, printed as a curve, drawn with what happened marked on it."""

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

_DAYS_AT_THE_END = 4
_WIDTH = 40
_DAYS = """
select decision.day, decision.verdict, plays.value as ndcg, plays.lower, plays.upper, said.value as useful,
    said.lower as useful_lower, said.upper as useful_upper
from ml.decisions as decision
left join ml.quality_metrics as plays on plays.day = decision.day and plays.metric = 'ndcg@20'
left join ml.quality_metrics as said on said.day = decision.day and said.metric = 'useful'
where decision.kind = 'day'
order by decision.day
"""
_ALARMS = "select metric, day, answer, baseline from ml.alarms order by alarm_id"
_TRAININGS = "select started_at::date, cause, decision from ml.model_runs order by model_run_id"
_BLOCKED = "select day from ops.batches where endpoint = 'listen_history' and status = 'blocked' order by day"


@dataclass(frozen=True)
class DailyFigures:
    """One day that was judged or passed over, with the 95 % bounds of what was measured."""

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
    """A fall, the day it was noticed for, and what the training came to."""

    metric: str
    day: date
    answer: str | None
    baseline: float


@dataclass(frozen=True)
class QualityHistory:
    """All of it. `trainings` are day, cause and decision; `runs` are flow runs that an event began."""

    days: Sequence[DailyFigures]
    alarms: Sequence[AlarmOutcome]
    trainings: Sequence[tuple[date, str, str]]
    blocked: Sequence[date]
    runs: Sequence[dict[str, Any]]

    @property
    def usual(self) -> float:
        """What ndcg@20 was before the alarm: the baseline that it was held against."""
        return self.alarms[0].baseline if self.alarms else float("nan")

    @property
    def now(self) -> float:
        """What it is at the end: the mean of the last days."""
        measured = [one.ndcg for one in self.days if one.ndcg is not None][-_DAYS_AT_THE_END:]
        return sum(measured) / len(measured) if measured else float("nan")

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        told = asdict(self) | {"usual": self.usual, "now": self.now}
        told["runs"] = [{name: run[name] for name in ("name", "state_type", "parameters")} for run in self.runs]
        plain: dict[str, Any] = _plain(told)
        return plain


def read_quality_history(connection: Connection, runs: Sequence[dict[str, Any]]) -> QualityHistory:
    """What the database has of the weeks."""
    days = connection.cursor(row_factory=class_row(DailyFigures)).execute(_DAYS).fetchall()
    alarms = connection.cursor(row_factory=class_row(AlarmOutcome)).execute(_ALARMS).fetchall()
    trainings = connection.execute(_TRAININGS).fetchall()
    blocked = [row[0] for row in connection.execute(_BLOCKED)]
    return QualityHistory(days, alarms, trainings, blocked, runs)


def print_quality_history(curve: QualityHistory, console: Console, outage: date, shift: date) -> None:
    """Print the curve, a day a line."""
    table = Table(title="Quality day by day", title_justify="left", title_style="bold", show_edge=False)
    table.add_column("day", no_wrap=True)
    table.add_column("ndcg@20", justify="right")
    table.add_column("", no_wrap=True, width=_WIDTH)
    table.add_column("useful", justify="right")
    table.add_column("what happened")
    most = max((one.ndcg for one in curve.days if one.ndcg is not None), default=1.0)
    for one in curve.days:
        bar = "" if one.ndcg is None else "█" * round(_WIDTH * one.ndcg / most)
        style = {"alarm": "red", "not-judged": "yellow"}.get(one.verdict, "green" if one.verdict == "steady" else "dim")
        figures = ["" if value is None else f"{value:.3f}" for value in (one.ndcg, one.useful)]
        happened = _happened(one, curve, outage, shift)
        table.add_row(str(one.day), figures[0], f"[{style}]{bar}[/]", figures[1], happened)
    console.print()
    console.print(table)
    console.print(
        f"\nUsual before the alarm {curve.usual:.4f}; mean of the last {_DAYS_AT_THE_END} days {curve.now:.4f}"
    )


def _happened(one: DailyFigures, curve: QualityHistory, outage: date, shift: date) -> str:
    told = []
    if one.day == outage:
        told.append("half a day's listens are missing: blocked, not judged")
    if one.day == shift:
        told.append("half of the listeners change taste")
    for alarm in curve.alarms:
        if alarm.day == one.day:
            told.append(f"alarm; a training answers: {alarm.answer}")
    return "; ".join(told)


def draw_quality_history(curve: QualityHistory, file: Path, outage: date, shift: date) -> None:
    """Write the plot as PNG: both metrics with their bounds, and lines where something happened."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.dates import DateFormatter
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(10, 6), layout="constrained")
    FigureCanvasAgg(canvas)
    above, below = canvas.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _line(above, [(one.day, one.ndcg, one.lower, one.upper) for one in curve.days], "#0072B2")
    _line(below, [(one.day, one.useful, one.useful_lower, one.useful_upper) for one in curve.days], "#009E73")
    above.axhline(curve.usual, color="grey", linewidth=1, linestyle=":", label="usual before the alarm")
    marks = [
        (outage, "#999999", "--", "outage: blocked"),
        (shift, "#E69F00", "--", "half of the listeners change taste"),
    ]
    marks += [(alarm.day, "#D55E00", "-", f"alarm: {alarm.metric}") for alarm in curve.alarms]
    marks += [
        (day, "#CC79A7", "-", "new model published")
        for day, cause, decision in curve.trainings
        if cause == "degradation" and decision == "published"
    ]
    for axes in (above, below):
        for day, colour, style, label in marks:
            axes.axvline(_noon(day), color=colour, linestyle=style, linewidth=1.8, label=label)
        axes.grid(visible=True, alpha=0.25)
    above.set(title="Quality of what is published, with what chance leaves open", ylabel="ndcg@20", ylim=(0, None))
    below.set(ylabel="share of useful answers", ylim=(0, 1))
    below.xaxis.set_major_formatter(DateFormatter("%d %b"))  # type: ignore[no-untyped-call]
    handles, labels = above.get_legend_handles_labels()
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


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, date) else value
