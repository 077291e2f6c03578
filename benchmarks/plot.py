"""Plots of growth: first ingests over sessions, and training over users, tracks and plays. All axes are logarithmic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Scaling
from benchmarks.ingests import IngestMeasurement
from benchmarks.processes import ProcessResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


@contextmanager
def canvas_for(file: Path, width: float, height: float) -> Iterator[Canvas]:
    """A canvas of so many inches, which is written to the file as PNG at the end."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(canvas)
    yield canvas
    for axes in canvas.axes:
        axes.grid(visible=True, which="both", alpha=0.25)
    file.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(file, dpi=110, metadata={"Software": None})


def draw_growth(points: Sequence[ProcessResult[IngestMeasurement]], file: Path) -> None:
    """Plot seconds per step and peak memory over sessions. The dotted line is in proportion."""
    with canvas_for(file, 10, 4.2) as canvas:
        time, memory = canvas.subplots(1, 2)
        sessions, totals = [point.result.sessions for point in points], [point.result.total for point in points]
        for step in points[0].result.seconds:
            seconds = [point.result.seconds[step] for point in points]
            time.loglog(sessions, seconds, marker="o", markersize=4, label=step)
        time.loglog(sessions, totals, marker="o", color="black", linewidth=2.5, label="all")
        in_proportion = [totals[-1] * count / sessions[-1] for count in sessions]
        time.loglog(sessions, in_proportion, color="grey", linestyle=":", label="in proportion")
        time.set(title="Time of a first ingest", xlabel="sessions", ylabel="seconds")
        canvas.legend(*time.get_legend_handles_labels(), loc="outside lower center", ncols=8, fontsize=8)
        memory.loglog(sessions, [point.peak_bytes / 2**20 for point in points], marker="o", color="black")
        memory.set(title="Peak memory of its process", xlabel="sessions", ylabel="MB", ylim=(100, 2000))


def draw_scalings(scalings: Sequence[Scaling], file: Path) -> None:
    """Plot seconds over the factors of each dimension. The dotted line is in proportion."""
    with canvas_for(file, 6, 4.2) as canvas:
        axes = canvas.subplots()
        for scaling in scalings:
            axes.loglog(
                *zip(*scaling.points, strict=True),
                marker="o",
                label=f"{scaling.dimension}, exponent {scaling.exponent:.2f}",
            )
        factors = [factor for factor, _ in scalings[0].points]
        in_proportion = [scalings[0].points[0][1] * factor for factor in factors]
        axes.loglog(factors, in_proportion, color="grey", linestyle=":", label="in proportion")
        axes.set(title="Time to train and to score all users", xlabel="factor, each alone", ylabel="seconds")
        axes.set_xticks(factors, labels=[str(factor) for factor in factors])
        axes.minorticks_off()
        axes.legend(fontsize=8)
