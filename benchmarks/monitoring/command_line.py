"""Simulates the drift detector and prints the results. `--write` also writes them to docs/drift-detection.md."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks import report
from benchmarks.monitoring.detection import DEADLINE, YEAR
from benchmarks.monitoring.mock_days import MockPopulation, Values, evaluate_days
from benchmarks.monitoring.studies import CUSUM, NAIVE, NORMAL, Studies

_FILE_WIDTH = 160


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 after the simulation, even if a target is missed. Exits with 2 for a wrong argument."""
    options = read_options(arguments)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    with console.status("starting the mock") as status:
        world = MockPopulation()
        studies = Studies(evaluate_days(world, status.update), options.histories, status.update)
        results = report.terminal_tables(f"{studies.count:,} histories", studies.figures, studies.tables)
        if options.write:
            console.print(f"written: {write_simulation(world, studies, options.write)}")
    console.print(*results)
    return 0


def read_options(arguments: Sequence[str] | None) -> Any:
    """Parse the command line. Exits with 2 for a wrong argument, or for a page without marks."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.monitoring",
        description="Simulate how often the drift detector is wrong, and how soon it detects a drop.",
    )
    parser.add_argument("--histories", type=report.parse_count, default=4_000, help="histories for each row (4000)")
    return report.parse_options(parser, arguments, PAGE, MARK)


# The marks are the lines `<!-- simulation: begin -->` and `<!-- simulation: end -->` of the page.
PAGE, MARK = "drift-detection.md", "simulation"
# Tables, and beginnings of rows, that the page leaves out: no setting depends on them. The terminal has them all.
TABLES_LEFT_OUT = (
    *("Nothing changes: false alarms", "Changing number of users"),
    *("The mock's days in order", "Statistics of the mock's days"),
)
ROWS_LEFT_OUT: Mapping[str, tuple[str, ...]] = {
    "Drops: detected share and delay": ("normal",),
    "Comparison with other rules": ("1,000 | naive", "1,000 | Page-Hinkley, value a day", "1,000 | CUSUM"),
    "Two metrics": (
        *("NDCG or useful, 200 users | 6", "useful, 200 users | 6 ", "NDCG or useful, 50 users | 5 and 5"),
        *("NDCG or useful, 50 users | 6", "useful, 50 users | 5", "useful, 50 users | 6 "),
    ),
    "Choice of k and h": ("0.25 | 4", "0.25 | 6", "0.75 | 6", "1 | 5", "1 | 6"),
    "Dependent days": ("1,000", "200 | autocorrelation 0.2, weekends"),
}
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


def write_simulation(world: MockPopulation, studies: Studies, docs: Path) -> Path:
    """Replace the plot, and the lines between the marks. Returns the page. Raises ValueError if it has no marks."""
    page = docs / PAGE
    report.write_part(page, MARK, _page_lines(world, studies))
    draw_alarms(*studies.curves(), docs / _PLOT)
    return page


def draw_alarms(alarms_of_rules: Mapping[str, Values], delays_of_drops: Mapping[str, Values], file: Path) -> None:
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


def _page_lines(world: MockPopulation, studies: Studies) -> Iterator[str]:
    command = f"python -m benchmarks.monitoring --histories {studies.count} --write"
    yield f"Written by `{command}`; every run gives the same figures. {studies.count:,} histories"
    yield f"per row. The mock has {world}."
    yield "The command prints more rows than this page has."
    yield ""
    yield from report.figure_table(figure for figure in studies.figures if not figure.name.startswith(NORMAL))
    yield ""
    yield f"![The share of histories with an alarm over the days: nothing changes, and after drops]({_PLOT})"
    for table in studies.tables:
        if table.title in TABLES_LEFT_OUT:
            continue
        rows = [row for row in table.rows if not row.startswith(ROWS_LEFT_OUT.get(table.title, ()))]
        yield from report.table_section(replace(table, rows=rows))


def _cumulative_share(alarms: Values, days: int) -> tuple[Values, Values]:
    """The days, and the percentage of histories with an alarm by each day. `alarms` has a day for each history."""
    day_numbers = np.arange(days + 1, dtype=np.float64)
    return day_numbers, 100 * np.searchsorted(np.sort(alarms), day_numbers, side="right") / max(1, len(alarms))
