"""Growth: first ingests of ever larger worlds. Neither time nor memory per row may rise."""

from __future__ import annotations

from itertools import pairwise

from benchmarks.bench import Bench
from benchmarks.figures import Figure, GrowthPoint, Measured, Table, at_most, shares
from benchmarks.ingests import Ingest
from benchmarks.processes import Ran

HOW = (
    "First ingests as above, each in a fresh process with an empty database and a mock of its own, users and tracks in"
    " proportion to the sessions. Time per session is that of the whole ingest divided by the sessions."
)
# Two runs of the same thing differ by this much.
_NOISE = 1.1


def measure(bench: Bench) -> Measured:
    """One ingest a size, the smallest first. The main world's is the one measured as first ingest."""
    points = [_point(bench, sessions) for sessions in bench.growth]
    return Measured(HOW, _figures(bench, points), [_table(points)] if points else [], points)


def statement(points: list[GrowthPoint]) -> str:
    """Whether time and memory per session rise, in a sentence."""
    sizes = f"{points[0].sessions:,} to {points[-1].sessions:,} sessions"
    kept = [
        f"{name} per session {'rises' if any(b > a * _NOISE for a, b in pairwise(each)) else 'does not rise'}"
        for name, each in (
            ("time", [point.total / point.sessions for point in points]),
            ("memory", [point.peak_bytes / point.sessions for point in points]),
        )
    ]
    return f"From {sizes}, {' and '.join(kept)}."


def _point(bench: Bench, sessions: int) -> GrowthPoint:
    if sessions == bench.sizes.sessions:
        return _of(bench.first_ingest)
    with bench.first_ingest_of(bench.sizes.with_sessions(sessions)) as ran:
        return _of(ran)


def _of(ran: Ran[Ingest]) -> GrowthPoint:
    return GrowthPoint(ran.result.sessions, ran.result.seconds, ran.peak_bytes, ran.result.memory)


def _figures(bench: Bench, points: list[GrowthPoint]) -> list[Figure]:
    if len(points) < 2:
        return []
    small, large = points[-2:]
    judged = large.sessions == 10 * small.sessions and small.sessions == bench.sizes.sessions
    sizes = f"{large.sessions:,} against {small.sessions:,} sessions"
    per_session = [1e6 * point.total / point.sessions for point in (large, small)]
    return [
        Figure(
            name="growth: time per session, the largest against the one before",
            number=per_session[0] / per_session[1],
            unit="",
            target=at_most(_NOISE),
            measured=f"{per_session[0]:.1f} µs against {per_session[1]:.1f} µs a session, {sizes}; a tenth is noise",
            spent=shares(large.seconds),
        ),
        Figure(
            name="growth: peak memory, the largest against the one before",
            number=large.peak_bytes / small.peak_bytes,
            unit="",
            target=at_most(1.5) if judged else None,
            measured=f"{large.peak_bytes / 2**20:,.0f} MB against {small.peak_bytes / 2**20:,.0f} MB, {sizes}"
            + ("" if judged else f"; the target is for {10 * bench.sizes.sessions:,} (--growth)"),
            spent=large.memory,
        ),
    ]


def _table(points: list[GrowthPoint]) -> Table:
    steps = list(points[0].seconds)
    header = ["sessions", *steps, "all (s)", "µs a session", "peak (MB)", "bytes a session"]
    rows = [
        [
            f"{point.sessions:,}",
            *(f"{point.seconds[step]:.1f}" for step in steps),
            f"{point.total:.1f}",
            f"{1e6 * point.total / point.sessions:,.1f}",
            f"{point.peak_bytes / 2**20:,.0f}",
            f"{point.peak_bytes / point.sessions:,.0f}",
        ]
        for point in points
    ]
    return Table("Growth: seconds per step, and memory", header, rows, statement(points))
