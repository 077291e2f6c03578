"""Results of a measurement: figures with targets, tables, and paired run times of the project and a baseline."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log
from statistics import median
from typing import Any, Literal

from benchmarks.ingests import IngestMeasurement
from benchmarks.processes import ProcessResult

Result = Literal["met", "missed", "no target"]


NOISE = 1.1
"""Two runs of the same code differ by up to this factor."""


@dataclass(frozen=True)
class Figure:
    """One number with an optional target. `unit` is empty for a ratio.

    `measured` gives the values behind the number. `breakdown` lists the parts of a time or of an amount of memory.
    """

    name: str
    number: float
    measured: str
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    breakdown: str = ""

    @property
    def result(self) -> Result:
        if self.at_least is None and self.at_most is None:
            return "no target"
        reaches_minimum = self.at_least is None or self.number >= self.at_least
        return "met" if reaches_minimum and (self.at_most is None or self.number <= self.at_most) else "missed"

    @property
    def number_text(self) -> str:
        """The number with its unit, such as `1.24` or `612 MB`."""
        return f"{self.number:,.{0 if self.unit == 'MB' else 2}f} {self.unit}".strip()

    @property
    def target_text(self) -> str:
        """The target, such as `at most 1.3`. Empty if there is none."""
        limits = (("at least", self.at_least), ("at most", self.at_most))
        return ", ".join(f"{bound} {limit:,g} {self.unit}".strip() for bound, limit in limits if limit is not None)


@dataclass(frozen=True)
class Table:
    """Details behind the figures, with ` | ` between cells. `note` explains how to read them."""

    title: str
    header: str
    rows: Sequence[str]
    note: str = ""


@dataclass(frozen=True)
class Scaling:
    """Run times while one dimension of the input grows and the others stay the same.

    `points` are pairs of a factor and the seconds at this multiple of the dimension. The first factor is 1.
    """

    dimension: str
    points: Sequence[tuple[int, float]]

    @property
    def exponent(self) -> float:
        """The exponent of the power law through the first and the last point. 1 means linear growth."""
        (first_factor, first_seconds), (last_factor, last_seconds) = self.points[0], self.points[-1]
        return log(last_seconds / first_seconds) / log(last_factor / first_factor)


@dataclass(frozen=True)
class Measurement:
    """The results of one measurement. docs/benchmarks.md describes the method."""

    figures: Sequence[Figure]
    tables: Sequence[Table] = ()
    growth: Sequence[ProcessResult[IngestMeasurement]] = ()
    scalings: Sequence[Scaling] = ()


@dataclass(frozen=True)
class PairedRuns:
    """Seconds of the project's code and of a baseline for the same `count` rows, one pair per round."""

    count: int
    seconds: Sequence[tuple[float, float]]

    @property
    def project(self) -> float:
        """Median seconds of the project's code."""
        return median(project for project, _ in self.seconds)

    @property
    def baseline(self) -> float:
        """Median seconds of the baseline."""
        return median(baseline for _, baseline in self.seconds)

    @property
    def times_baseline(self) -> float:
        """Median over the rounds of the project's seconds divided by the baseline's."""
        return median(project / baseline for project, baseline in self.seconds)

    @property
    def share_of_rate(self) -> float:
        """Median over the rounds of the project's rate divided by the baseline's."""
        return median(baseline / project for project, baseline in self.seconds)

    def rates(self, rows: str) -> str:
        """Return both rates as text, such as `1,542 pages a second against 1,128`."""
        return f"{self.count / self.project:,.0f} {rows} a second against {self.count / self.baseline:,.0f}"

    def rate_figure(self, name: str, rows: str, note: str, **target: Any) -> Figure:
        """The share of the baseline's rate, measured by both rates and followed by the note."""
        return Figure(name, self.share_of_rate, f"{self.rates(rows)}{note}", **target)

    def times_figure(self, name: str, note: str, *, digits: int = 1, **target: Any) -> Figure:
        """The project's seconds divided by the baseline's, measured by both and followed by the note."""
        measured = f"{self.project:.{digits}f} s against {self.baseline:.{digits}f} s{note}"
        return Figure(name, self.times_baseline, measured, **target)


def run_in_turns(
    rounds: int,
    project: Callable[[], object],
    baseline: Callable[[], object],
    *,
    count: int,
    show: Callable[[str], None],
    prepare: Callable[[], object] = lambda: None,
) -> PairedRuns:
    """Time the project's code, then the baseline, in each round. `prepare` runs before a round and is not timed."""
    seconds = []
    for number in range(1, rounds + 1):
        show(f"round {number} of {rounds}")
        prepare()
        seconds.append((seconds_of(project), seconds_of(baseline)))
    return PairedRuns(count, seconds)


def seconds_of(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Call `work` and return the seconds it takes by the clock."""
    started = clock()
    work()
    return clock() - started


def breakdown(seconds: Mapping[str, float]) -> str:
    """Return the parts of a time as text, longest first, such as `land 17.2 s, shape 9.1 s`."""
    ordered = sorted(seconds.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {duration:.1f} s" for name, duration in ordered)
