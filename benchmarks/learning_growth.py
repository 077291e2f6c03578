"""Growth of learning: the largest recipe with more listeners, more tracks, or more plays, each alone."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.figures import Measured, Scaling, Table
from benchmarks.processes import Show
from benchmarks.scoring import Whole, learn_and_score

HOW = (
    "The graph filter with a share of ALS learns, and scores everyone, as in `scoring`, in a fresh process each; of one"
    " made-up world, listeners, tracks and plays are multiplied one at a time."
)
_BASE = {"listeners": 3_000, "tracks": 4_000, "plays": 100_000}
_FACTORS = (1, 3, 10)


def measure(bench: Bench) -> Measured:
    """A point for each dimension and factor; the base is measured once."""
    base = {name: min(count, limit) for (name, count), limit in zip(_BASE.items(), _limits(bench), strict=True)}
    first = _learn(bench, base)
    scalings = []
    for name in base:
        points = [(1, first)]
        points += [(factor, _learn(bench, base | {name: base[name] * factor})) for factor in _FACTORS[1:]]
        scalings.append(Scaling(name, [(factor, whole.fit + whole.score) for factor, whole in points]))
    return Measured(HOW, [], [_table(base, scalings)], scalings=scalings)


def _limits(bench: Bench) -> tuple[int, int, int]:
    return bench.sizes.users, bench.sizes.tracks, bench.sizes.sessions


def _learn(bench: Bench, sizes: dict[str, int]) -> Whole:
    return bench.run(bench.show, _with, sizes).result


def _with(show: Show, sizes: dict[str, int]) -> Whole:
    return learn_and_score(show, sizes["listeners"], sizes["tracks"], sizes["plays"])


def _table(base: dict[str, int], scalings: list[Scaling]) -> Table:
    rows = [
        [scaling.over, *(f"{seconds:.1f}" for _, seconds in scaling.points), f"{scaling.exponent:.2f}"]
        for scaling in scalings
    ]
    said = ", ".join(f"{count:,} {name}" for name, count in base.items())
    how = f"Seconds to learn and to score everyone. Times 1 is {said}. An exponent of 1 is in proportion."
    return Table("Growth of learning", ["more", *(f"times {factor}" for factor in _FACTORS), "exponent"], rows, how)
