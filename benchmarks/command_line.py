"""Run the chosen measurements, show progress, and print the results."""

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
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import (
    audit,
    commands,
    daily_quality,
    dask_scoring,
    recommending,
    scoring,
    serving,
    streaming,
    throughput,
    training_memory,
)
from benchmarks import whole_ingests as ingests
from benchmarks.context import BenchmarkContext
from benchmarks.figures import Measurement
from benchmarks.processes import WorkFailed, run_in_fresh_process
from benchmarks.report import PAGE, BenchmarkReport, describe_machine, parse_count, terminal
from benchmarks.source import Sizes
from core import embedded_postgres
from core.clock import utc_now

# The order matters: some measurements read what earlier ones wrote to the database. Commands are measured first:
# Postgres vacuums the sessions of the first ingest for minutes.
MEASUREMENTS: Mapping[str, Callable[[BenchmarkContext], Measurement]] = {
    "fixed-cost": commands.measure_fixed_cost,
    "with-server": commands.measure_with_server,
    "help-cost": commands.measure_help,
    "fetch": throughput.measure_fetch,
    "object-store": throughput.measure_object_store,
    "stage": throughput.measure_staging,
    "first-ingest": ingests.measure_first,
    "audit": audit.measure,
    "next-days": ingests.measure_next_days,
    "growth": ingests.measure_growth,
    "recommending": recommending.measure,
    "publishing": throughput.measure_publishing,
    "daily-quality": daily_quality.measure,
    "scoring": scoring.measure,
    "scoring-on-dask": dask_scoring.measure,
    "training-growth": scoring.measure_growth,
    "training-memory": training_memory.measure,
    "serving": serving.measure,
    "streaming": streaming.measure,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks. Returns 0 if all measurements ran, even if targets were missed, and 1 if one failed."""
    options = read_options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # exit handlers stop servers and remove folders
    console = terminal()
    try:
        report = measure(options, console)
    except WorkFailed as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        return 1
    PAGE.publish(list(report.lines()), options.write)
    if options.write:
        report.draw(options.write)
    return 0


def measure(options: Any, console: Console) -> BenchmarkReport:
    """Run the chosen measurements, and print each figure as soon as it is known. Raises WorkFailed."""
    started, measurements = time.monotonic(), {}
    sizes = Sizes(options.users, options.tracks, options.sessions)
    with temporary_postgres() as (folder, postgres), console.status("starting") as status:
        machine = describe_machine(postgres)
        context = BenchmarkContext(
            sizes, options.growth, options.rounds, folder, postgres, run_in_fresh_process, status.update
        )
        with context.at_exit:
            for name in [name for name in MEASUREMENTS if name in options.only]:
                measurements[name] = MEASUREMENTS[name](context)
                for figure in measurements[name].figures:
                    line = f"{figure.name}: {figure.number_text} ({figure.measured})"
                    console.print(line, markup=False, soft_wrap=True)
    minutes = (time.monotonic() - started) / 60
    return BenchmarkReport(utc_now().date(), sizes, options.rounds, minutes, machine, measurements)


@contextmanager
def temporary_postgres() -> Iterator[tuple[Path, str]]:
    """Yield a temporary folder and the URL of an embedded Postgres in it. Both are removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="moovitamix-benchmarks-"))
    # Exit handlers run in reverse order. This one, registered before the server starts, runs after the server stops.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["DATA_DIR"] = str(folder)  # for Prefect's files of child processes that import the flows
    try:
        yield folder, embedded_postgres.start(folder / "server")
    finally:
        embedded_postgres.stop_if_unused(folder / "server")
        shutil.rmtree(folder, ignore_errors=True)


def read_options(arguments: Sequence[str] | None) -> Any:
    """Parse the command line. Exits with 2 for a wrong argument, or a `--write` page without marks for the results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure speed and size as ratios against baselines that run side by side.",
        epilog="Needs about 5 GB in the folder for temporary files (TMPDIR), ten times that at 10 million sessions.",
    )
    parser.add_argument("--users", type=parse_count, default=100_000)
    parser.add_argument("--tracks", type=parse_count, default=100_000)
    parser.add_argument("--sessions", type=parse_count, default=1_000_000)
    parser.add_argument(
        "--growth",
        type=lambda text: tuple(sorted({parse_count(part) for part in text.split(",")})),
        default=(10_000, 100_000, 1_000_000),
        help="numbers of sessions, as in 10000,100000 (10 million take half an hour more)",
    )
    parser.add_argument("--rounds", type=parse_count, default=2, help="how often each side of a ratio is measured")
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS), metavar="NAME")
    options = PAGE.read_options(parser, arguments)
    if options.write and len(options.only) < len(MEASUREMENTS):
        parser.error("--write needs all measurements: leave out --only")
    return options
