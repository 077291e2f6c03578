"""Prints figures and tables in the terminal, and writes them with their plots between two marks of a Markdown page."""

from __future__ import annotations

import argparse
import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import rich.table

from benchmarks.context import FETCH_THREADS, PAGE_SIZE
from benchmarks.figures import Figure, Measurement, Scaling, Table
from benchmarks.ingests import IngestMeasurement
from benchmarks.processes import ProcessResult
from benchmarks.source import ROOT, Sizes
from core.sessions import open_connection


@contextmanager
def canvas_for(file: Path, width: float, height: float) -> Iterator[Any]:
    """A canvas, its size in inches. The file is written as PNG at the end."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(canvas)
    yield canvas
    for axes in canvas.axes:
        axes.grid(visible=True, which="both", alpha=0.25)
    file.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(file, dpi=110, metadata={"Software": None})


def draw_growth(points: Sequence[ProcessResult[IngestMeasurement]], file: Path) -> None:
    """Plot seconds per step and peak memory over sessions. The dotted line is in proportion."""
    with canvas_for(file, 10, 4.2) as canvas:
        time, memory = canvas.subplots(1, 2)
        sessions, totals = [point.result.sessions for point in points], [point.result.total for point in points]
        for step in points[0].result.seconds:
            seconds = [point.result.seconds[step] for point in points]
            time.loglog(sessions, seconds, marker="o", markersize=4, label=step)
        time.loglog(sessions, totals, marker="o", color="black", linewidth=2.5, label="all")
        in_proportion = [totals[-1] * count / sessions[-1] for count in sessions]
        time.loglog(sessions, in_proportion, color="grey", linestyle=":", label="in proportion")
        time.set(title="Time of a first ingest", xlabel="sessions", ylabel="seconds")
        canvas.legend(*time.get_legend_handles_labels(), loc="outside lower center", ncols=8, fontsize=8)
        memory.loglog(sessions, [point.peak_bytes / 2**20 for point in points], marker="o", color="black")
        memory.set(title="Peak memory of its process", xlabel="sessions", ylabel="MB", ylim=(100, 2000))


def draw_scalings(scalings: Sequence[Scaling], file: Path) -> None:
    """Plot seconds over the factors of each dimension. The dotted line is in proportion."""
    with canvas_for(file, 6, 4.2) as canvas:
        axes = canvas.subplots()
        for scaling in scalings:
            axes.loglog(
                *zip(*scaling.points, strict=True),
                marker="o",
                label=f"{scaling.dimension}, exponent {scaling.exponent:.2f}",
            )
        factors = [factor for factor, _ in scalings[0].points]
        in_proportion = [scalings[0].points[0][1] * factor for factor in factors]
        axes.loglog(factors, in_proportion, color="grey", linestyle=":", label="in proportion")
        axes.set(title="Time to train and to score all users", xlabel="factor, each alone", ylabel="seconds")
        axes.set_xticks(factors, labels=[str(factor) for factor in factors])
        axes.minorticks_off()
        axes.legend(fontsize=8)


_LIBRARIES = ("polars", "psycopg", "requests", "great-expectations", "prefect", "sqlalchemy", "msgspec")


def describe_machine(postgres: str) -> Mapping[str, str]:
    """Processor, cores, memory, load before the run, versions."""
    with open_connection(postgres) as connection:
        server = connection.info.parameter_status("server_version") or "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    processors = re.findall(r"^model name\s*: (.+)$", cpuinfo.read_text() if cpuinfo.exists() else "", re.MULTILINE)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "Processor": processors[0] if processors else platform.processor() or platform.machine(),
        "Cores": str(cores),
        "Memory": f"{psutil.virtual_memory().total / 2**30:.0f} GB",
        "Load before the run": f"{os.getloadavg()[0]:.1f}",
        "System": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "Postgres": f"{server}, embedded",
        **{name: version(name) for name in _LIBRARIES},
    }


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
    """For each missed target: the number, and its parts if they are known."""
    return [
        f"**{figure.name}** is {figure.number_text} ({figure.target_text})"
        + (f": {figure.breakdown}" if figure.breakdown else "")
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
    docs, text = ROOT / "docs", f"write {page} to this folder (default: docs)"
    parser.add_argument("--write", nargs="?", type=Path, const=docs, metavar="FOLDER", help=text)
    options = parser.parse_args(arguments)
    if options.write:
        try:
            split_page(options.write / page, mark)
        except ValueError as error:
            parser.error(str(error))
    return options
