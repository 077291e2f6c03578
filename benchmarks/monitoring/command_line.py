"""Simulates the drift detector and prints the results. `--write` also writes them to docs/drift-detection.md."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.monitoring.detection import DEADLINE, YEAR
from benchmarks.monitoring.mock_days import MockPopulation, Values, evaluate_days
from benchmarks.monitoring.studies import CUSUM, NAIVE, Studies

PAGE = report.DocsPage("drift-detection.md", "simulation")
# The page leaves these tables out, because no setting depends on them. The terminal has them too.
TABLES_LEFT_OUT = (
    *("Nothing changes: false alarms", "Changing number of users"),
    *("The mock's days in order", "Statistics of the mock's days"),
)
_PLOT = "images/quality-alarms.png"
# Colours by Okabe and Ito, which colour-blind readers can tell apart. Line styles differ too, for print in grey.
_BLUE = "#0072B2"
_STYLES: dict[str, tuple[str, object]] = {
    CUSUM: (_BLUE, "-"),
    NAIVE: ("#D55E00", "--"),
    "Page-Hinkley, value a day": ("black", ":"),
    "Page-Hinkley, value a user": ("#CC79A7", "-."),
    "Page-Hinkley, tuned": ("#009E73", (0, (5, 1, 1, 1, 1, 1))),
}
_SHADES = {"10 %": "#56B4E9", "20 %": _BLUE, "30 %": "#001f4d"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 after the simulation, even if a target is missed. Exits with 2 for a wrong argument."""
    options = read_options(arguments)
    with report.terminal().status("starting the mock") as status:
        world = MockPopulation()
        studies = Studies(evaluate_days(world, status.update), options.histories, status.update)
        lines = list(page_lines(world, studies, ()))
    PAGE.publish(lines, None)
    if options.write:
        report.terminal().print(f"written: {write_simulation(world, studies, options.write)}")
    return 0


def read_options(arguments: Sequence[str] | None) -> Any:
    """Parse the command line. Exits with 2 for a wrong argument, or for a page without marks."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.monitoring",
        description="Simulate how often the drift detector is wrong, and how soon it detects a drop.",
    )
    parser.add_argument("--histories", type=report.parse_count, default=4_000, help="histories for each row (4000)")
    return PAGE.read_options(parser, arguments)


def write_simulation(world: MockPopulation, studies: Studies, docs: Path) -> Path:
    """Replace the plot, and the lines between the marks. Returns the page. Raises ValueError if it has no marks."""
    _draw_alarms(*studies.curves(), docs / _PLOT)
    return PAGE.write(docs, page_lines(world, studies, TABLES_LEFT_OUT))


def page_lines(world: MockPopulation, studies: Studies, left_out: Sequence[str]) -> Iterator[str]:
    """The results without some of the tables."""
    command = f"python -m benchmarks.monitoring --histories {studies.count} --write"
    yield f"Written by `{command}`; every run gives the same figures. {studies.count:,} histories"
    yield f"per row. The mock has {world}."
    yield "The command prints more rows than this page has."
    yield ""
    yield from report.figure_table(studies.figures)
    yield ""
    yield f"![The share of histories with an alarm over the days: nothing changes, and after drops]({_PLOT})"
    yield from report.table_sections(table for table in studies.tables if table.title not in left_out)


def _draw_alarms(alarms_of_rules: Mapping[str, Values], delays_of_drops: Mapping[str, Values], file: Path) -> None:
    """Plot the share of histories with an alarm by each day. Left: nothing changes. Right: quality drops."""
    with report.canvas_for(file, 12, 5) as canvas:
        without_drop, with_drop = canvas.subplots(1, 2, sharey=True)
        for name, alarms in alarms_of_rules.items():
            colour, line_style = _STYLES[name]
            without_drop.plot(*_cumulative_share(alarms, YEAR), color=colour, linestyle=line_style, label=name)
        without_drop.set(title="Nothing changes: false alarms", xlabel="days", ylabel="% of histories", xlim=(0, YEAR))
        for name, delays in delays_of_drops.items():
            rule, share = name.rsplit(", ", 1)
            colour, line_style = _STYLES[rule]
            shade = _SHADES[share] if rule == CUSUM else colour
            with_drop.plot(*_cumulative_share(delays, DEADLINE), color=shade, linestyle=line_style, label=name)
        with_drop.set(title="Quality drops: detected", xlabel="days of the drop", xlim=(0, DEADLINE), ylim=(-2, 102))
        for axes in (without_drop, with_drop):
            axes.legend(loc="center right", fontsize=9)


def _cumulative_share(alarms: Values, days: int) -> tuple[Values, Values]:
    """The days, and the percentage of histories with an alarm by each day. `alarms` has a day for each history."""
    day_numbers = np.arange(days + 1, dtype=np.float64)
    return day_numbers, 100 * np.searchsorted(np.sort(alarms), day_numbers, side="right") / max(1, len(alarms))
