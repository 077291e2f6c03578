"""The CPU time of `moovitamix --help`."""

from __future__ import annotations

import resource
import subprocess
import sys
from statistics import median

from benchmarks.context import BenchmarkContext
from benchmarks.figures import Figure, Measurement, at_most
from benchmarks.source import ROOT


def measure(context: BenchmarkContext) -> Measurement:
    """User and system CPU seconds of the command."""
    context.show("moovitamix --help")
    seconds = [cpu_seconds() for _ in range(1 + context.rounds)][1:]
    measured = f"at least {min(seconds):.2f} CPU s"
    return Measurement([Figure("moovitamix --help", median(seconds), at_most(0.5), measured, unit="CPU s")])


def cpu_seconds() -> float:
    """CPU seconds of one run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "cli", "--help"], cwd=ROOT, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)
