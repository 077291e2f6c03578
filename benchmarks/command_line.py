"""Measures what is asked for, shows how far it is, and prints one table."""

from __future__ import annotations

import argparse
import atexit
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks import (
    audit,
    fetch,
    first_ingest,
    fixed_cost,
    growth,
    help_cost,
    judging,
    learning_growth,
    next_days,
    publishing,
    recommending,
    scoring,
    serving,
    stage,
)
from benchmarks.arguments import count
from benchmarks.bench import Bench
from benchmarks.figures import Measured
from benchmarks.machine import describe_machine
from benchmarks.processes import Runner, Show, WorkFailed, in_fresh_process
from benchmarks.report import Report, missed, terminal_tables, write_page
from benchmarks.source import ROOT, Sizes
from core import embedded_postgres
from core.dates import parse_day

# In this order: some go on with what those before them left.
MEASUREMENTS: Mapping[str, Callable[[Bench], Measured]] = {
    "fetch": fetch.measure,
    "stage": stage.measure,
    "first-ingest": first_ingest.measure,
    "audit": audit.measure,
    "next-days": next_days.measure,
    "fixed-cost": fixed_cost.measure,
    "help-cost": help_cost.measure,
    "growth": growth.measure,
    "recommending": recommending.measure,
    "publishing": publishing.measure,
    "judging": judging.measure,
    "scoring": scoring.measure,
    "learning-growth": learning_growth.measure,
    "serving": serving.measure,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks from a command line; exit 0 when all were measured, whatever their verdicts."""
    asked = _read_options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are ended and folders removed
    console = Console()
    if not console.is_terminal:
        console.width = 120
    try:
        with _own_postgres() as (folder, postgres):
            report = measure(asked, folder, postgres, console, in_fresh_process)
    except WorkFailed as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        return 1
    console.print(*terminal_tables(report), sep="\n\n")
    for line in missed(report):
        console.print(f"missed: {line.replace('**', '')}", style="red", markup=False, soft_wrap=True)
    if asked.write:
        console.print(f"written: {write_page(report, asked.write)}")
    return 0


def measure(asked: argparse.Namespace, folder: Path, postgres: str, console: Console, run: Runner) -> Report:
    """Measure what is asked for, on that Postgres and in that folder."""
    began = time.monotonic()
    sizes = Sizes(asked.users, asked.tracks, asked.sessions)
    machine, found = describe_machine(postgres), dict[str, Measured]()
    with (
        _progress(console, len(asked.only)) as (show, done),
        Bench(sizes, asked.growth, asked.rounds, folder, postgres, run, show) as bench,
    ):
        for name, measurement in MEASUREMENTS.items():
            if name in asked.only:
                found[name] = measurement(bench)
                done(found[name])
    minutes = (time.monotonic() - began) / 60
    return Report(asked.date, sizes, asked.rounds, minutes, machine, found)


@contextmanager
def _progress(console: Console, measurements: int) -> Iterator[tuple[Show, Callable[[Measured], None]]]:
    """A bar with what is going on, and each figure as a line when it is known."""
    columns = (SpinnerColumn(), BarColumn(bar_width=20), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("starting", total=measurements)

        def done(found: Measured) -> None:
            progress.advance(bar)
            for figure in found.figures:
                line = f"{figure.name}: {figure.shown} ({figure.measured})"
                progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

        yield lambda text: progress.update(bar, description=text), done


@contextmanager
def _own_postgres() -> Iterator[tuple[Path, str]]:
    """A temporary folder, and the URL of an embedded Postgres in it; both gone on the way out."""
    folder = Path(tempfile.mkdtemp(prefix="moovitamix-benchmarks-"))
    # Registered before the server's own clean-up, so that it comes after it.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["DATA_DIR"] = str(folder)  # where a child that imports the flows keeps Prefect's files
    try:
        yield folder, embedded_postgres.start(folder / "server")
    finally:
        embedded_postgres.stop_if_unused(folder / "server")
        shutil.rmtree(folder, ignore_errors=True)


def _read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="How fast and how big, as ratios against something bare that runs side by side.",
        epilog="Needs about 5 GB in the folder for temporary files (TMPDIR), ten times that at 10 million sessions.",
    )
    parser.add_argument("--users", type=count, default=100_000)
    parser.add_argument("--tracks", type=count, default=100_000)
    parser.add_argument("--sessions", type=count, default=1_000_000)
    parser.add_argument(
        "--growth",
        type=lambda text: tuple(sorted({count(part) for part in text.split(",")})),
        default=(10_000, 100_000, 1_000_000),
        help="numbers of sessions, as in 10000,100000 (10 million take half an hour more)",
    )
    parser.add_argument("--rounds", type=count, default=2, help="how often each side of a ratio is measured")
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS), metavar="NAME")
    parser.add_argument("--date", type=parse_day, default=datetime.now(UTC).date(), help="for the page (today)")
    parser.add_argument(
        "--write", nargs="?", type=Path, const=ROOT / "docs", metavar="FOLDER", help="write benchmarks.md there (docs)"
    )
    asked = parser.parse_args(arguments)
    if asked.write and len(asked.only) < len(MEASUREMENTS):
        parser.error("--write needs all measurements: leave out --only")
    return asked
