"""Simulates the alarm, shows what came out, and writes it into the page when asked to."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table as Shown

from benchmarks.arguments import count
from benchmarks.monitoring.mock_days import MockWorld, judge_days
from benchmarks.monitoring.page import PAGE, PLOT, Findings, around, write_part
from benchmarks.monitoring.plot import draw_alarms
from benchmarks.monitoring.studies import Studies
from benchmarks.source import ROOT

_WIDTH_OF_A_FILE = 160


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0 when all was simulated, whether targets are met or not; 2 for a wrong argument."""
    asked = _read_options(arguments)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH_OF_A_FILE
    with console.status("starting the mock") as status:
        world = MockWorld()
        studies = Studies(judge_days(world, status.update), asked.histories, status.update)
        findings = Findings(world, asked.histories, studies.figures(), studies.tables())
        curves = studies.curves() if asked.write else None
    _show(findings, console)
    if curves:
        draw_alarms(curves, asked.write / PLOT)
        write_part(findings, asked.write / PAGE)
        console.print(f"written: {asked.write / PAGE}")
    return 0


def _show(findings: Findings, console: Console) -> None:
    targets = Shown("figure", "target", "number", "verdict", title=f"{findings.count:,} histories")
    for figure in findings.figures:
        targets.add_row(figure.name, figure.target_shown, figure.shown, figure.verdict)
    console.print(targets)
    for table in findings.tables:
        shown = Shown(*table.header, title=table.title, caption=table.how)
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)


def _read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.monitoring",
        description="How often the alarm on falling quality is wrong, and how soon it finds a drop.",
    )
    parser.add_argument("--histories", type=count, default=4_000, help="for each row (4000)")
    parser.add_argument(
        "--write", nargs="?", type=Path, const=ROOT / "docs", metavar="FOLDER", help=f"renew {PAGE} there (docs)"
    )
    asked = parser.parse_args(arguments)
    if asked.write:
        try:
            around(asked.write / PAGE)
        except ValueError as error:
            parser.error(str(error))
    return asked
