"""The CPU time of `moovitamix --help`."""

from __future__ import annotations

import resource
import subprocess
import sys
from statistics import median

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Measured, at_most
from benchmarks.source import ROOT

HOW = (
    "`python -m cli --help` as a process of its own: user and system CPU seconds, the median of the rounds, after"
    " one run that is not counted."
)


def measure(bench: Bench) -> Measured:
    """User and system CPU seconds of the command."""
    bench.show("moovitamix --help")
    seconds = [cpu_seconds() for _ in range(1 + bench.rounds)][1:]
    figure = Figure("moovitamix --help", median(seconds), "CPU s", at_most(0.5), f"{min(seconds):.2f} CPU s at least")
    return Measured(HOW, [figure], [])


def cpu_seconds() -> float:
    """CPU seconds of one run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "cli", "--help"], cwd=ROOT, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)
