"""What a measurement says: figures with targets, and tables that show where the time goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Literal

Verdict = Literal["met", "missed", "no target"]


@dataclass(frozen=True)
class Target:
    """A limit that a figure keeps when it is met exactly."""

    bound: Literal["at least", "at most"]
    limit: float

    def met_by(self, number: float) -> bool:
        """Whether the number keeps the limit."""
        return number >= self.limit if self.bound == "at least" else number <= self.limit


def at_least(limit: float) -> Target:
    """The number is not below the limit."""
    return Target("at least", limit)


def at_most(limit: float) -> Target:
    """The number is not above the limit."""
    return Target("at most", limit)


@dataclass(frozen=True)
class Figure:
    """One number with its target. `unit` is empty for a ratio; `spent` says where the time or the memory goes."""

    name: str
    number: float
    unit: str
    target: Target | None
    measured: str
    spent: str = ""

    @property
    def verdict(self) -> Verdict:
        if self.target is None:
            return "no target"
        return "met" if self.target.met_by(self.number) else "missed"

    @property
    def shown(self) -> str:
        """The number as people read it, such as `1.24` or `612 MB`."""
        return _shown(self.number, self.unit)

    @property
    def target_shown(self) -> str:
        """Such as `at most 1.3`."""
        return f"{self.target.bound} {self.target.limit:,g} {self.unit}".strip() if self.target else ""


@dataclass(frozen=True)
class Table:
    """Details behind the figures. `how` says how they were measured."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    how: str = ""


@dataclass(frozen=True)
class GrowthPoint:
    """A whole first ingest at one size: seconds per step, and the peak of its process."""

    sessions: int
    seconds: Mapping[str, float]
    peak_bytes: int
    memory: str

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


@dataclass(frozen=True)
class Scaling:
    """Seconds as one thing alone is multiplied: pairs of the factor and the seconds, the first factor being 1."""

    over: str
    points: Sequence[tuple[int, float]]

    @property
    def exponent(self) -> float:
        """Of the power law between the first point and the last: 1 is in proportion."""
        (first, begin), (last, end) = self.points[0], self.points[-1]
        return log(end / begin) / log(last / first)


@dataclass(frozen=True)
class Measured:
    """What one measurement found, and in a sentence how."""

    how: str
    figures: Sequence[Figure]
    tables: Sequence[Table] = ()
    growth: Sequence[GrowthPoint] = ()
    scalings: Sequence[Scaling] = ()


def shares(seconds: Mapping[str, float]) -> str:
    """Where the time goes, the largest part first: `land 17.2 s, shape 9.1 s`."""
    ordered = sorted(seconds.items(), key=lambda part: -part[1])
    return ", ".join(f"{name} {spent:.1f} s" for name, spent in ordered)


def _shown(number: float, unit: str) -> str:
    if unit == "MB":
        return f"{number:,.0f} MB"
    return f"{number:.2f} {unit}".strip()
