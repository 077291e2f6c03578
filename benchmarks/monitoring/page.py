"""The simulation's part of docs/drift-simulation.md, between two marks, and its plot. The rest is written by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import numpy as np

from benchmarks.figures import Figure, Table
from benchmarks.monitoring.mock_days import MockWorld, Values
from benchmarks.monitoring.simulation import DEADLINE, YEAR
from benchmarks.monitoring.studies import CUSUM, NAIVE, AlarmCurves
from benchmarks.plot import canvas_for
from benchmarks.report import figure_table, table_section, write_part

PAGE, MARK = "drift-simulation.md", "simulation"
_PLOT = "images/quality-alarms.png"
_WIDTH = 120
# Okabe and Ito's colours, which colour-blind readers can tell apart, and a line style each, for print.
_BLUE = "#0072B2"
_STYLES: dict[str, tuple[str, object]] = {
    CUSUM: (_BLUE, "-"),
    NAIVE: ("#D55E00", "--"),
    "Page-Hinkley, value a day": ("black", ":"),
    "Page-Hinkley, value a user": ("#CC79A7", "-."),
    "Page-Hinkley, tuned": ("#009E73", (0, (5, 1, 1, 1, 1, 1))),
}
_SHADES = {"10 %": "#56B4E9", "20 %": _BLUE, "30 %": "#001f4d"}


@dataclass(frozen=True)
class SimulationReport:
    """The results of one run. The same world and number of histories give the same results."""

    world: MockWorld
    count: int
    figures: Sequence[Figure]
    tables: Sequence[Table]


def write_simulation(report: SimulationReport, curves: AlarmCurves, docs: Path) -> Path:
    """Replace the part between the marks, and the plot. Returns the page. Raises ValueError if it has no marks."""
    page = docs / PAGE
    write_part(page, MARK, _part(report))
    draw_alarms(curves, docs / _PLOT)
    return page


def draw_alarms(curves: AlarmCurves, file: Path) -> None:
    """Plot the share of histories with an alarm over days: nothing changes on the left, quality drops on the right."""
    with canvas_for(file, 12, 5) as canvas:
        quiet, dropped = canvas.subplots(1, 2, sharey=True)
        for name, alarms in curves.quiet.items():
            colour, line = _STYLES[name]
            quiet.plot(*_cumulative_share(alarms, YEAR), color=colour, linestyle=line, label=name)
        quiet.set(title="Nothing changes: false alarms", xlabel="days", ylabel="% of histories", xlim=(0, YEAR))
        for name, detection in curves.drops.items():
            rule, share = name.rsplit(", ", 1)
            colour, line = _STYLES[rule]
            shade = _SHADES[share] if rule == CUSUM else colour
            dropped.plot(*_cumulative_share(detection.delays, DEADLINE), color=shade, linestyle=line, label=name)
        dropped.set(title="Quality drops: detected", xlabel="days of the drop", xlim=(0, DEADLINE), ylim=(-2, 102))
        for axes in (quiet, dropped):
            axes.legend(loc="center right", fontsize=9)


def _part(report: SimulationReport) -> Iterator[str]:
    command = f"python -m benchmarks.monitoring --histories {report.count} --write"
    yield f"Written by `{command}`; every run gives the same figures."
    yield _wrapped(f"{report.count:,} histories a row. The mock has {report.world}.")
    yield ""
    yield from figure_table(report.figures)
    yield ""
    yield f"![The share of histories with an alarm over the days: nothing changes, and after drops]({_PLOT})"
    for table in report.tables:
        yield from table_section(table)


def _cumulative_share(alarms: Values, days: int) -> tuple[Values, Values]:
    """The days, and the per cent of histories with an alarm by each day."""
    numbers = np.arange(days + 1, dtype=np.float64)
    return numbers, 100 * np.searchsorted(np.sort(alarms), numbers, side="right") / max(1, len(alarms))


def _wrapped(text: str) -> str:
    return fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
