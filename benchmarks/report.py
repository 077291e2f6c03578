"""Writes results as Markdown: in the terminal, and between two marks of a page of docs/, with plots."""

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
from rich.console import Console
from rich.markdown import Markdown

from benchmarks.figures import Figure, Measurement, Scaling, Table
from benchmarks.ingests import IngestMeasurement
from benchmarks.minimal_loader import FETCH_THREADS, PAGE_SIZE
from benchmarks.processes import ROOT, ProcessResult
from benchmarks.source import Sizes
from compute.blocks import cores
from core.sessions import open_connection

_FILE_WIDTH = 160
_LIBRARIES = ("polars", "psycopg", "requests", "great-expectations", "prefect", "sqlalchemy", "msgspec")
IN_PROPORTION = "in proportion"
_GROWTH_PLOT = "images/benchmarks-growth.png"
_TRAINING_PLOT = "images/benchmarks-learning.png"


@dataclass(frozen=True)
class DocsPage:
    """The part of a page of docs/ between the lines `<!-- MARK: begin -->` and `<!-- MARK: end -->`."""

    name: str
    mark: str

    def read_options(self, parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> Any:
        """Parse the command line, with `--write [FOLDER]`. Exits with 2 for a wrong argument, or without the marks."""
        text = f"write {self.name} to this folder (default: docs)"
        parser.add_argument("--write", nargs="?", type=Path, const=ROOT / "docs", metavar="FOLDER", help=text)
        options = parser.parse_args(arguments)
        if options.write:
            try:
                self._split(options.write)
            except ValueError as error:
                parser.error(str(error))
        return options

    def write(self, folder: Path, lines: Iterable[str]) -> Path:
        """Replace the lines between the marks. Returns the page. Raises ValueError if it does not have them."""
        before, after = self._split(folder)
        (folder / self.name).write_text("\n".join([before, "", *lines, "", after]))
        return folder / self.name

    def publish(self, lines: Sequence[str], folder: Path | None) -> None:
        """Print the lines, and write them if there is a folder."""
        terminal().print(Markdown("\n".join(lines)))
        if folder:
            terminal().print(f"written: {self.write(folder, lines)}")

    def _split(self, folder: Path) -> tuple[str, str]:
        begin, end = f"<!-- {self.mark}: begin -->", f"<!-- {self.mark}: end -->"
        text = (folder / self.name).read_text() if (folder / self.name).exists() else ""
        if begin not in text or end not in text:
            raise ValueError(f"{folder / self.name} has no {begin} and {end} to write between")
        return text.split(begin)[0] + begin, end + text.split(end)[1]


PAGE = DocsPage("benchmarks.md", "benchmarks")


def terminal() -> Console:
    """The console, wide enough for tables if it is a file."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    return console


def figure_table(figures: Iterable[Figure]) -> Iterator[str]:
    """The figures with their targets and results."""
    results = {"met": "met", "missed": "**missed**", "no target": ""}
    rows = (
        f"{row.name} | {row.target_text} | {row.number_text} | {results[row.result]} | {row.measured}"
        for row in figures
    )
    yield from _table("Figure | Target | Number | Result | Measured", rows)


def table_sections(tables: Iterable[Table]) -> Iterator[str]:
    """Each table in a section."""
    for table in tables:
        yield from ["", f"### {table.title}", ""]
        if table.note:
            yield from [table.note, ""]
        yield from _table(table.header, table.rows)


def _table(header: str, rows: Iterable[str]) -> Iterator[str]:
    yield f"| {header} |"
    yield f"|{'---|' * len(header.split(' | '))}"
    yield from (f"| {row} |" for row in rows)


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


_COLORS = ["#56B4E9", "#0072B2", "black"]  # also without colour vision, lines differ by their dashes


def draw_lines(
    file: Path, size: tuple[float, float], x: Sequence[int], lines: Mapping[str, Sequence[float]], **titles: str
) -> None:
    """Plot lines by name on logarithmic axes, with labels at these numbers only. The line of proportion is dotted."""
    with canvas_for(file, *size) as canvas:
        axes = canvas.subplots()
        axes.set_prop_cycle(color=_COLORS, linestyle=["-", "--", "-."])
        for name, values in lines.items():
            style = {"color": "grey", "linestyle": ":"} if name == IN_PROPORTION else {"marker": "o"}
            axes.loglog(x, values, label=name, **style)
        axes.set(**titles)
        axes.set_xticks(x, labels=[str(number) for number in x])
        axes.minorticks_off()
        axes.legend(fontsize=8)


def _draw_growth(points: Sequence[ProcessResult[IngestMeasurement]], file: Path) -> None:
    """Plot seconds per step and peak memory over sessions. The dotted line is in proportion."""
    with canvas_for(file, 10, 4.2) as canvas:
        time, memory = canvas.subplots(1, 2)
        sessions, totals = [point.result.sessions for point in points], [point.result.total for point in points]
        for step in points[0].result.seconds:
            seconds = [point.result.seconds[step] for point in points]
            time.loglog(sessions, seconds, marker="o", markersize=4, label=step)
        time.loglog(sessions, totals, marker="o", color="black", linewidth=2.5, label="all")
        in_proportion = [totals[-1] * count / sessions[-1] for count in sessions]
        time.loglog(sessions, in_proportion, color="grey", linestyle=":", label=IN_PROPORTION)
        time.set(title="Time of a first ingest", xlabel="sessions", ylabel="seconds")
        canvas.legend(*time.get_legend_handles_labels(), loc="outside lower center", ncols=8, fontsize=8)
        memory.loglog(sessions, [point.peak_bytes / 2**20 for point in points], marker="o", color="black")
        memory.set(title="Peak memory of its process", xlabel="sessions", ylabel="MB", ylim=(100, 2000))


def _draw_scalings(scalings: Sequence[Scaling], file: Path) -> None:
    """Plot seconds over the factors of each dimension."""
    factors, (first, *_) = zip(*scalings[0].points, strict=True)
    lines = {
        f"{scaling.dimension}, exponent {scaling.exponent:.2f}": [seconds for _, seconds in scaling.points]
        for scaling in scalings
    } | {IN_PROPORTION: [first * factor for factor in factors]}
    title = "Time to train and to score all users"
    draw_lines(file, (6, 4.2), factors, lines, title=title, xlabel="factor, each alone", ylabel="seconds")


def describe_machine(postgres: str) -> Mapping[str, str]:
    """Processor, cores, memory, load before the run, versions."""
    with open_connection(postgres) as connection:
        server = connection.info.parameter_status("server_version") or "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    processors = re.findall(r"^model name\s*: (.+)$", cpuinfo.read_text() if cpuinfo.exists() else "", re.MULTILINE)
    return {
        "Processor": processors[0] if processors else platform.processor() or platform.machine(),
        "Cores": str(cores()),
        "Memory": f"{psutil.virtual_memory().total / 2**30:.0f} GB",
        "Load before the run": f"{os.getloadavg()[0]:.1f}",
        "System": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "Postgres": f"{server}, embedded",
        **{name: version(name) for name in _LIBRARIES},
    }


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

    def lines(self) -> Iterator[str]:
        """The results as Markdown."""
        machine = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        yield f"Written by `python -m benchmarks --write` on {self.day}, in {self.minutes:.0f} minutes. The mock API"
        yield f"has {self.sizes} of 5 plays; pages of {PAGE_SIZE} rows, {FETCH_THREADS} threads."
        yield f"Rounds: {self.rounds}. Machine: {machine}."
        yield ""
        yield from figure_table(self.figures)
        yield from ["", "### Missed targets", ""]
        yield from [f"- {line}." for line in missed_targets(self.figures)] or ["No target is missed."]
        yield from table_sections(table for measurement in self.measurements.values() for table in measurement.tables)
        yield from ["", f"![Time and memory over the number of sessions, both axes logarithmic]({_GROWTH_PLOT})"]
        yield from ["", f"![Time to train over users, tracks and plays, both axes logarithmic]({_TRAINING_PLOT})"]

    def draw(self, folder: Path) -> None:
        """Replace the plots of the page."""
        for measurement in self.measurements.values():
            if measurement.growth:
                _draw_growth(measurement.growth, folder / _GROWTH_PLOT)
            if measurement.scalings:
                _draw_scalings(measurement.scalings, folder / _TRAINING_PLOT)


def missed_targets(figures: Iterable[Figure]) -> list[str]:
    """For each missed target: the number, and its parts if they are known."""
    return [
        f"**{figure.name}** is {figure.number_text} ({figure.target_text})"
        + (f": {figure.breakdown}" if figure.breakdown else "")
        for figure in figures
        if figure.result == "missed"
    ]


def parse_count(text: str) -> int:
    """A whole number from 1. Raises ValueError."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number
