"""Growth of training: the largest recipe with more users, more tracks, or more plays, each alone."""

from __future__ import annotations

from benchmarks.context import BenchmarkContext
from benchmarks.figures import Measurement, Scaling, Table
from benchmarks.scoring import fit_and_score

_BASE = {"users": 3_000, "tracks": 4_000, "plays": 100_000}
_FACTORS = (1, 3, 10)


def measure(context: BenchmarkContext) -> Measurement:
    """One point per dimension and factor. The base is measured once."""
    sizes = context.sizes
    base = dict(zip(_BASE, map(min, _BASE.values(), (sizes.users, sizes.tracks, sizes.sessions)), strict=True))
    first = _seconds(context, base)
    scalings = [
        Scaling(
            name,
            [(1, first)] + [(factor, _seconds(context, base | {name: base[name] * factor})) for factor in _FACTORS[1:]],
        )
        for name in base
    ]
    return Measurement([], [_table(base, scalings)], scalings=scalings)


def _seconds(context: BenchmarkContext, sizes: dict[str, int]) -> float:
    times = context.run(context.show, fit_and_score, *sizes.values()).result
    return times.fit + times.score


def _table(base: dict[str, int], scalings: list[Scaling]) -> Table:
    rows = [
        [scaling.dimension, *(f"{seconds:.1f}" for _, seconds in scaling.points), f"{scaling.exponent:.2f}"]
        for scaling in scalings
    ]
    sizes = ", ".join(f"{count:,} {name}" for name, count in base.items())
    note = f"Seconds to fit and to score all users. Times 1 is {sizes}. An exponent of 1 is in proportion."
    return Table("Growth of training", ["more", *(f"times {factor}" for factor in _FACTORS), "exponent"], rows, note)
