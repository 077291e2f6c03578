"""The plot of alarms: how many histories have had one, over the days."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.monitoring.mock_days import Values
from benchmarks.monitoring.simulation import LOOKED, YEAR
from benchmarks.monitoring.studies import Curves

# Okabe and Ito's colours, told apart by the colour-blind too; and each line its own style, for print.
_OURS, _NAIVE, _LISTENER, _TUNED = "#0072B2", "#D55E00", "#CC79A7", "#009E73"
_STYLES = {
    "this alarm": (_OURS, "-"),
    "naive daily rule": (_NAIVE, "--"),
    "Page-Hinkley, usual settings, a value a day": ("black", ":"),
    "Page-Hinkley, usual settings, a value a listener": (_LISTENER, "-."),
    "Page-Hinkley, tuned": (_TUNED, (0, (5, 1, 1, 1, 1, 1))),
}
_SHADES = {"10 %": "#56B4E9", "20 %": _OURS, "30 %": "#001f4d"}


def draw_alarms(curves: Curves, file: Path) -> None:
    """Write the plot as PNG: on the left nothing changed, on the right quality dropped."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(12, 5), layout="constrained")
    FigureCanvasAgg(canvas)
    quiet, fallen = canvas.subplots(1, 2, sharey=True)
    for name, alarms in curves.quiet.items():
        colour, line = _style_of(name)
        quiet.plot(*_so_far(alarms, YEAR), color=colour, linestyle=line, label=name)
    quiet.set(title="Nothing changed: a false alarm so far", xlabel="days", ylabel="% of histories", xlim=(0, YEAR))
    for name, found in curves.drops.items():
        colour, line = _style_of(name)
        shade = _SHADES[name.rsplit(", ", 1)[1]] if colour == _OURS else colour
        fallen.plot(*_so_far(found.delays, LOOKED), color=shade, linestyle=line, label=name)
    fallen.set(title="Quality dropped: found so far", xlabel="days with the drop", xlim=(0, LOOKED), ylim=(-2, 102))
    for axes in (quiet, fallen):
        axes.grid(visible=True, alpha=0.25)
    quiet.legend(loc="center right", fontsize=9)
    fallen.legend(loc="center right", fontsize=9)
    file.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(file, dpi=110, metadata={"Software": None})


def _style_of(name: str) -> tuple[str, object]:
    return next(style for rule, style in _STYLES.items() if name.startswith(rule))


def _so_far(alarms: Values, days: int) -> tuple[Values, Values]:
    """The days, and the share of histories with an alarm by each of them, in per cent."""
    numbers = np.arange(days + 1, dtype=np.float64)
    return numbers, 100 * np.searchsorted(np.sort(alarms), numbers, side="right") / max(1, len(alarms))
