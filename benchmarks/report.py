"""The figures as one table in the terminal, and as docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import rich.table

from benchmarks.bench import FETCH_THREADS, PAGE_SIZE
from benchmarks.figures import Figure, GrowthPoint, Measured, Scaling, Table
from benchmarks.plot import draw_growth, draw_scalings
from benchmarks.source import Sizes

PAGE = "benchmarks.md"
PLOT = "images/benchmarks-growth.png"
LEARNING_PLOT = "images/benchmarks-learning.png"
_COLOURS = {"met": "green", "missed": "red", "no target": ""}


@dataclass(frozen=True)
class Report:
    """One run of the benchmarks, by the name of each measurement."""

    day: date
    sizes: Sizes
    rounds: int
    minutes: float
    machine: Mapping[str, str]
    measured: Mapping[str, Measured]

    @property
    def figures(self) -> list[Figure]:
        return [figure for one in self.measured.values() for figure in one.figures]

    @property
    def growth(self) -> Sequence[GrowthPoint]:
        return next((one.growth for one in self.measured.values() if one.growth), ())

    @property
    def scalings(self) -> Sequence[Scaling]:
        return next((one.scalings for one in self.measured.values() if one.scalings), ())


def terminal_tables(report: Report) -> Iterator[rich.table.Table]:
    """Every figure with its target and verdict, then the details."""
    title = f"{report.sizes}, on {report.machine['Cores']} cores of {report.machine['Processor']}"
    figures = rich.table.Table("figure", "target", rich.table.Column("number", justify="right"), "verdict", title=title)
    for figure in report.figures:
        verdict = "" if figure.verdict == "no target" else figure.verdict
        figures.add_row(figure.name, figure.target_shown, figure.shown, verdict, style=_COLOURS[figure.verdict])
    yield figures
    for one in report.measured.values():
        for details in one.tables:
            table = rich.table.Table(*details.header, title=details.title, caption=details.how)
            for row in details.rows:
                table.add_row(*row)
            yield table


def missed(report: Report) -> list[str]:
    """For each target that is missed, by how much, and where the time goes."""
    return [
        f"**{figure.name}** is {figure.shown} ({figure.target_shown}): {figure.spent}"
        for figure in report.figures
        if figure.verdict == "missed"
    ]


def write_page(report: Report, docs: Path) -> Path:
    """Write docs/benchmarks.md and its plot, over what is there. Returns the page."""
    if report.growth:
        draw_growth(report.growth, docs / PLOT)
    if report.scalings:
        draw_scalings(report.scalings, docs / LEARNING_PLOT)
    page = docs / PAGE
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(_page(report)) + "\n")
    return page


def _page(report: Report) -> Iterator[str]:
    yield "# Benchmarks"
    yield ""
    yield f"Written by `python -m benchmarks --write` on {report.day}, in {report.minutes:.0f} minutes."
    yield "Every ratio is against something bare that ran side by side in the same run, so that it says the same on"
    yield "another machine; seconds do not. The API is the mock, in a process of its own on the same machine, with"
    yield f"{report.sizes} of 5 plays; pages of {PAGE_SIZE} rows, {FETCH_THREADS} threads."
    yield "Postgres is the embedded one, as a fresh machine has it. Each side of a ratio that takes turns ran"
    yield f"{_times(report.rounds)}; a figure is the median."
    yield ""
    yield from _markdown(("Figure", "Target", "Number", "Verdict", "Measured"), _figure_rows(report.figures))
    yield ""
    yield "## What is missed, and where the time goes"
    yield ""
    yield from [f"- {line}." for line in missed(report)] or ["No target is missed."]
    for one in report.measured.values():
        for table in one.tables:
            yield from _section(table)
    if report.growth:
        yield ""
        yield f"![Time and memory over the number of sessions, both axes logarithmic]({PLOT})"
    if report.scalings:
        yield ""
        yield f"![Time to learn over listeners, tracks and plays, both axes logarithmic]({LEARNING_PLOT})"
    yield ""
    yield "## How each is measured"
    yield ""
    yield from (f"- **{name}**: {one.how}" for name, one in report.measured.items())
    yield ""
    yield "## The machine"
    yield ""
    yield from _markdown(("", ""), list(report.machine.items()))


def _figure_rows(figures: Sequence[Figure]) -> list[Sequence[str]]:
    return [
        (
            figure.name,
            figure.target_shown,
            figure.shown,
            {"met": "met", "missed": "**missed**", "no target": ""}[figure.verdict],
            figure.measured,
        )
        for figure in figures
    ]


def _section(table: Table) -> Iterator[str]:
    yield ""
    yield f"## {table.title}"
    yield ""
    if table.how:
        yield table.how
        yield ""
    yield from _markdown(table.header, table.rows)


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _times(rounds: int) -> str:
    return {1: "once", 2: "twice"}.get(rounds, f"{rounds} times")
