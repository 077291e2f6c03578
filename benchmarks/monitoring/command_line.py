"""Simulates the drift detector, prints the results, and writes them to the page on request."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.console import Console

from benchmarks.arguments import add_write_option, check_marks, parse_count
from benchmarks.monitoring.mock_days import MockWorld, evaluate_days
from benchmarks.monitoring.page import MARK, PAGE, write_simulation
from benchmarks.monitoring.studies import Studies
from benchmarks.report import terminal_tables

_WIDTH_OF_A_FILE = 160


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0 when everything was simulated, whether targets are met or not; 2 for a wrong argument."""
    options = read_options(arguments)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH_OF_A_FILE
    with console.status("starting the mock") as status:
        world = MockWorld()
        studies = Studies(evaluate_days(world, status.update), options.histories, status.update)
        results = terminal_tables(f"{studies.count:,} histories", studies.figures, studies.tables)
        if options.write:
            console.print(f"written: {write_simulation(world, studies, options.write)}")
    console.print(*results)
    return 0


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line. Exits with 2 for a wrong argument, or for a page without marks."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.monitoring",
        description="Simulate how often the drift detector is wrong, and how soon it detects a drop.",
    )
    parser.add_argument("--histories", type=parse_count, default=4_000, help="for each row (4000)")
    add_write_option(parser, PAGE)
    options = parser.parse_args(arguments)
    check_marks(parser, options, PAGE, MARK)
    return options
