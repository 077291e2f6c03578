"""Prints figures and tables in the terminal, and writes them between two marks of a Markdown page."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import rich.table

from benchmarks.context import FETCH_THREADS, PAGE_SIZE
from benchmarks.figures import Figure, Measurement, Table
from benchmarks.plot import draw_growth, draw_scalings
from benchmarks.source import ROOT, Sizes

PAGE, MARK = "benchmarks.md", "benchmarks"
_GROWTH_PLOT = "images/benchmarks-growth.png"
_TRAINING_PLOT = "images/benchmarks-learning.png"
_COLOURS = {"met": "green", "missed": "red", "no target": ""}


@dataclass(frozen=True)
class BenchmarkReport:
    """One run of the benchmarks, by name of the measurement."""

    day: date
    sizes: Sizes
    rounds: int
    minutes: float
    machine: Mapping[str, str]
    measurements: Mapping[str, Measurement]

    @property
    def figures(self) -> list[Figure]:
        return [figure for measurement in self.measurements.values() for figure in measurement.figures]

    @property
    def tables(self) -> list[Table]:
        return [table for measurement in self.measurements.values() for table in measurement.tables]


def terminal_tables(title: str, figures: Iterable[Figure], tables: Iterable[Table]) -> Iterator[rich.table.Table]:
    """Every figure with its target and result, then the details."""
    number = rich.table.Column("number", justify="right")
    figure_table = rich.table.Table("figure", "target", number, "result", title=title)
    for figure in figures:
        result = "" if figure.result == "no target" else figure.result
        figure_table.add_row(figure.name, figure.target_text, figure.number_text, result, style=_COLOURS[figure.result])
    yield figure_table
    for table in tables:
        details = rich.table.Table(*table.header.split(" | "), title=table.title, caption=table.note)
        for row in table.rows:
            details.add_row(*row.split(" | "))
        yield details


def missed_targets(figures: Iterable[Figure]) -> list[str]:
    """For each missed target: the number, and the parts of the time or memory."""
    return [
        f"**{figure.name}** is {figure.number_text} ({figure.target_text}): {figure.breakdown}"
        for figure in figures
        if figure.result == "missed"
    ]


def write_benchmarks(report: BenchmarkReport, docs: Path) -> Path:
    """Replace the part between the marks, and the plots. Returns the page. Raises ValueError if it has no marks."""
    write_part(docs / PAGE, MARK, _part(report))
    for measurement in report.measurements.values():
        if measurement.growth:
            draw_growth(measurement.growth, docs / _GROWTH_PLOT)
        if measurement.scalings:
            draw_scalings(measurement.scalings, docs / _TRAINING_PLOT)
    return docs / PAGE


def write_part(page: Path, mark: str, lines: Iterable[str]) -> None:
    """Replace the lines between the marks of a page. Raises ValueError if it does not have them."""
    before, after = split_page(page, mark)
    page.write_text("\n".join([before, "", *lines, "", after]))


def split_page(page: Path, mark: str) -> tuple[str, str]:
    """The text up to the first mark of a page, and from the second mark on. Raises ValueError if it has none."""
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    text = page.read_text() if page.exists() else ""
    if begin not in text or end not in text:
        raise ValueError(f"{page} has no {begin} and {end} to write between")
    return text.split(begin)[0] + begin, end + text.split(end)[1]


def figure_table(figures: Iterable[Figure]) -> Iterator[str]:
    """The figures with their targets and results as Markdown."""
    results = {"met": "met", "missed": "**missed**", "no target": ""}
    yield from _markdown(
        "Figure | Target | Number | Result | Measured",
        [
            f"{row.name} | {row.target_text} | {row.number_text} | {results[row.result]} | {row.measured}"
            for row in figures
        ],
    )


def table_section(table: Table) -> Iterator[str]:
    """A table as a section in Markdown."""
    yield from ["", f"### {table.title}", ""]
    if table.note:
        yield from [table.note, ""]
    yield from _markdown(table.header, table.rows)


def _part(report: BenchmarkReport) -> Iterator[str]:
    yield f"Written by `python -m benchmarks --write` on {report.day}, in {report.minutes:.0f} minutes. The mock API"
    yield f"has {report.sizes} of 5 plays; pages of {PAGE_SIZE} rows, {FETCH_THREADS} threads."
    yield f"Rounds: {report.rounds}. Machine: {', '.join(f'{name} {value}' for name, value in report.machine.items())}."
    yield ""
    yield from figure_table(report.figures)
    yield from ["", "### Missed targets", ""]
    yield from [f"- {line}." for line in missed_targets(report.figures)] or ["No target is missed."]
    for table in report.tables:
        yield from table_section(table)
    yield from ["", f"![Time and memory over the number of sessions, both axes logarithmic]({_GROWTH_PLOT})"]
    yield from ["", f"![Time to train over users, tracks and plays, both axes logarithmic]({_TRAINING_PLOT})"]


def _markdown(header: str, rows: Iterable[str]) -> Iterator[str]:
    yield f"| {header} |"
    yield f"|{'---|' * len(header.split(' | '))}"
    yield from (f"| {row} |" for row in rows)


def parse_count(text: str) -> int:
    """A whole number from 1. Raises ValueError."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def parse_options(parser: argparse.ArgumentParser, arguments: Sequence[str] | None, page: str, mark: str) -> Any:
    """Parse the command line, with `--write [FOLDER]`. Exits with 2 for a wrong argument, or a page without marks."""
    docs, text = ROOT / "docs", f"write {page} there (docs)"
    parser.add_argument("--write", nargs="?", type=Path, const=docs, metavar="FOLDER", help=text)
    options = parser.parse_args(arguments)
    if options.write:
        try:
            split_page(options.write / page, mark)
        except ValueError as error:
            parser.error(str(error))
    return options
