"""Growth: first ingests of ever larger data sets. Neither time nor memory per row may rise."""

from __future__ import annotations

from itertools import pairwise

from benchmarks.context import BenchmarkContext
from benchmarks.figures import Figure, GrowthPoint, Measurement, Table, at_most, breakdown
from benchmarks.ingests import IngestMeasurement
from benchmarks.processes import ProcessResult

NOISE = 1.1
"""Two runs of the same code differ by up to this factor."""


def measure(context: BenchmarkContext) -> Measurement:
    """One ingest per size, the smallest first. The size of the main data set is the measured first ingest."""
    points = [_measure_size(context, sessions) for sessions in context.growth]
    return Measurement(_figures(context, points), [_table(points)] if points else [], points)


def describe_growth(points: list[GrowthPoint]) -> str:
    """Whether time and memory per session rise, in a sentence."""
    times = [point.total / point.sessions for point in points]
    memory = [point.peak_bytes / point.sessions for point in points]
    parts = [
        f"{name} per session {'rises' if any(b > a * NOISE for a, b in pairwise(values)) else 'does not rise'}"
        for name, values in (("time", times), ("memory", memory))
    ]
    return f"From {points[0].sessions:,} to {points[-1].sessions:,} sessions, {' and '.join(parts)}."


def _measure_size(context: BenchmarkContext, sessions: int) -> GrowthPoint:
    if sessions == context.sizes.sessions:
        return _growth_point(context.first_ingest)
    with context.first_ingest_of(context.sizes.with_sessions(sessions)) as process:
        return _growth_point(process)


def _growth_point(process: ProcessResult[IngestMeasurement]) -> GrowthPoint:
    ingest = process.result
    return GrowthPoint(ingest.sessions, ingest.seconds, process.peak_bytes, ingest.memory)


def _figures(context: BenchmarkContext, points: list[GrowthPoint]) -> list[Figure]:
    if len(points) < 2:
        return []
    small, large = points[-2:]
    has_target = large.sessions == 10 * small.sessions and small.sessions == context.sizes.sessions
    sizes = f"{large.sessions:,} against {small.sessions:,} sessions"
    micros = [1e6 * point.total / point.sessions for point in (large, small)]
    memory = f"{large.peak_bytes / 2**20:,.0f} MB against {small.peak_bytes / 2**20:,.0f} MB, {sizes}"
    if not has_target:
        memory += f"; the target is for {10 * context.sizes.sessions:,} (--growth)"
    return [
        Figure(
            "growth: time per session, the largest against the one before",
            micros[0] / micros[1],
            at_most(NOISE),
            f"{micros[0]:.1f} µs against {micros[1]:.1f} µs a session, {sizes}; a tenth is noise",
            breakdown=breakdown(large.seconds),
        ),
        Figure(
            "growth: peak memory, the largest against the one before",
            large.peak_bytes / small.peak_bytes,
            at_most(1.5) if has_target else None,
            memory,
            breakdown=large.memory,
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
    return Table("Growth: seconds per step, and memory", header, rows, describe_growth(points))
