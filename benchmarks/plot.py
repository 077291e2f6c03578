"""The growth plot: seconds per step and peak memory over the number of sessions, both axes logarithmic."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import GrowthPoint, Scaling


def draw_growth(points: Sequence[GrowthPoint], file: Path) -> None:
    """Write the plot as PNG. A line as steep as the grey one grows as fast as the list."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(10, 4.2), layout="constrained")
    FigureCanvasAgg(canvas)
    time, memory = canvas.subplots(1, 2)
    sessions = [point.sessions for point in points]
    for step in points[0].seconds:
        time.loglog(sessions, [point.seconds[step] for point in points], marker="o", markersize=4, label=step)
    totals = [point.total for point in points]
    time.loglog(sessions, totals, marker="o", color="black", linewidth=2.5, label="all")
    in_proportion = [totals[-1] * count / sessions[-1] for count in sessions]
    time.loglog(sessions, in_proportion, color="grey", linestyle=":", label="in proportion")
    time.set(title="Time of a first ingest", xlabel="sessions", ylabel="seconds")
    canvas.legend(*time.get_legend_handles_labels(), loc="outside lower center", ncols=8, fontsize=8)
    memory.loglog(sessions, [point.peak_bytes / 2**20 for point in points], marker="o", color="black")
    memory.set(title="Peak memory of its process", xlabel="sessions", ylabel="MB", ylim=(100, 2000))
    for axes in (time, memory):
        axes.grid(visible=True, which="both", alpha=0.25)
    file.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(file, dpi=110, metadata={"Software": None})


def draw_scalings(scalings: Sequence[Scaling], file: Path) -> None:
    """Write the plot of seconds over factors as PNG, both axes logarithmic."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(6, 4.2), layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.subplots()
    for scaling in scalings:
        times, seconds = zip(*scaling.points, strict=True)
        axes.loglog(times, seconds, marker="o", label=f"{scaling.over}, exponent {scaling.exponent:.2f}")
    factors = [factor for factor, _ in scalings[0].points]
    start = scalings[0].points[0][1]
    axes.loglog(factors, [start * factor for factor in factors], color="grey", linestyle=":", label="in proportion")
    axes.set(title="Time to learn, and to score everyone", xlabel="times as many, alone", ylabel="seconds")
    axes.set_xticks(factors, labels=[str(factor) for factor in factors])
    axes.minorticks_off()
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend(fontsize=8)
    file.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(file, dpi=110, metadata={"Software": None})
