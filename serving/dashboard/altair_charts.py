"""Render the charts of panels to SVG with Altair. Only the chart process imports this module.

Colours are CSS variables of the page, so that one SVG works in light and dark mode. Shape, text or position repeats
the information of each colour. Marks have no labels for screen readers; the chart has a title and a table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, Literal

import altair as alt
import vl_convert

Width = Literal["wide", "narrow"]
PIXELS: dict[Width, int] = {"wide": 540, "narrow": 320}
INK, SOFT, LINE = "var(--ink)", "var(--soft)", "var(--line)"
ACCENT, BAD, WARN = "var(--accent)", "var(--bad)", "var(--warn)"
_ENDPOINTS = ("Tracks", "Users", "Listening sessions")
_SEVERITIES = ("Critical", "Warning")
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-left", "wedge")
_TEXT = 12
_AXIS = 44  # fixed width left of the plot, independent of the reader's font
# The widest task names, such as "recommend: publish recommendations"; the narrow chart shortens them.
_STEP_NAMES = {"wide": 264, "narrow": 168}
_FONT_SLACK = 0.85  # the reader's font may be wider than the font that Vega measures
_MARGIN = 14  # room for half of the last day's label

ChartData = dict[str, Any]
Values = Sequence[dict[str, Any]]
Mark = Callable[[alt.Chart, Values], Any]
_CONFIG = {
    "aria": False,
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "padding": {"left": 0, "top": 4, "right": _MARGIN, "bottom": 4},
    "axis": {
        "labelColor": SOFT,
        "titleColor": SOFT,
        "gridColor": LINE,
        "domain": False,
        "ticks": False,
        "labelFontSize": _TEXT,
        "titleFontSize": _TEXT,
        "titleFontWeight": "normal",
        "labelPadding": 6,
    },
    "legend": {
        "labelColor": INK,
        "labelFontSize": _TEXT,
        "orient": "top",
        "title": None,
        "columnPadding": 32,
        "labelLimit": 0,
    },
    "title": {"anchor": "start", "color": INK, "fontSize": _TEXT, "fontWeight": "normal", "offset": 6},
    "text": {"fontSize": _TEXT},
}


def render_svg(name: str, chart_data: ChartData, width: Width) -> str:
    """Render one chart at one width, without network access."""
    specification = _CHARTS[name](chart_data, PIXELS[width] - _MARGIN).to_dict(validate=False) | {"config": _CONFIG}
    svg: str = vl_convert.vegalite_to_svg(specification, allowed_base_urls=[])
    return svg


def _chart(values: Sequence[Any], width: int, height: int, **options: Any) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=list(values)), width=width, height=height, **options)


def _days(chart_data: ChartData, field: str = "day") -> Any:
    """The time axis of all days, including days without data."""
    first, last = chart_data["days"]
    scale = alt.Scale(domain=[f"{first}T00:00:00Z", f"{last}T23:59:59Z"], type="utc")
    axis = alt.Axis(format="%-d %b", tickCount=5, grid=False, title=None)
    return alt.X(f"{field}:T", timeUnit="utcyearmonthdate", bandPosition=0.5, scale=scale, axis=axis)


def _decades(field: str, values: Sequence[float]) -> Any:
    """A logarithmic scale, because a training takes a hundred times as long as a monitor run."""
    first, last = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    powers = [10.0**power for power in range(first, max(last, first + 1) + 1)]
    scale = alt.Scale(type="log", domain=[powers[0], powers[-1]])
    axis = alt.Axis(title=None, values=powers, format=",~r", minExtent=_AXIS, maxExtent=_AXIS)
    return alt.Y(f"{field}:Q", scale=scale, axis=axis)


def _amount(field: str, maximum: float | None = None, **axis: Any) -> Any:
    scale = alt.Scale(domain=[0, maximum]) if maximum else alt.Scale()
    options = {"title": None, "tickCount": 2, "format": "~s", "minExtent": _AXIS, "maxExtent": _AXIS} | axis
    return alt.Y(f"{field}:Q", scale=scale, axis=alt.Axis(**options))


def _palette(names: Sequence[str], values: Sequence[Any]) -> Any:
    return alt.Scale(domain=list(names), range=list(values))


def _small_multiples(field: str, names: Sequence[str], chart_data: ChartData, mark: Mark, width: int) -> Any:
    """One small chart per name, stacked, each with its own scale."""
    charts = []
    for name in names:
        values = [value for value in chart_data["values"] if value[field] == name]
        if values:
            charts.append(mark(_chart(values, width - _AXIS, 64, title=name), values))
    return alt.vconcat(*charts, spacing=8)


def _rows(chart_data: ChartData, width: int) -> Any:
    colour = alt.Color("state:N", scale=_palette(["in", "blocked", "failed"], [ACCENT, BAD, BAD]), legend=None)

    def mark(chart: alt.Chart, _: Values) -> Any:
        base = chart.encode(x=_days(chart_data), y=_amount("rows"))
        bad = base.transform_filter("datum.state != 'in'")
        cross = bad.mark_text(text="\u2715", dy=-8, color=BAD, fontWeight="bold")
        return base.mark_bar(width=_bar(width, chart_data)).encode(color=colour) + cross

    return _small_multiples("endpoint", _ENDPOINTS, chart_data, mark, width)


def _rejected(chart_data: ChartData, width: int) -> Any:
    def mark(chart: alt.Chart, values: Values) -> Any:
        maximum = max(2, *(value["rows"] for value in values))
        return chart.mark_bar(width=_bar(width, chart_data), color=WARN).encode(
            x=_days(chart_data), y=_amount("rows", maximum)
        )

    return _small_multiples("endpoint", _ENDPOINTS, chart_data, mark, width)


def _bar(width: int, chart_data: ChartData) -> int:
    first, last = map(date.fromisoformat, chart_data["days"])
    day = (width - _AXIS) // ((last - first).days + 1)
    return max(2, day - max(1, min(4, day // 2)))


def _expectations(chart_data: ChartData, width: int) -> Any:
    colours = _palette(_SEVERITIES, [BAD, WARN])

    def mark(chart: alt.Chart, values: Values) -> Any:
        maximum = max(2, *(value["failing"] for value in values))
        y = _amount("failing", maximum, format="d", tickMinStep=1)
        colour = alt.Color("severity:N", scale=colours, legend=None)
        return chart.mark_bar(width=_bar(width, chart_data)).encode(x=_days(chart_data), y=y, color=colour)

    return _small_multiples("severity", _SEVERITIES, chart_data, mark, width)


def _steps(chart_data: ChartData, width: int) -> Any:
    names = [value["step"] for value in chart_data["values"]]
    extent = _STEP_NAMES["wide" if width > PIXELS["narrow"] else "narrow"]
    names_axis = alt.Axis(
        title=None, labelLimit=_FONT_SLACK * extent, labelColor=INK, minExtent=extent, maxExtent=extent
    )
    base = _chart(chart_data["values"], width - extent, 22 * len(names)).encode(
        y=alt.Y("step:N", sort=names, axis=names_axis)
    )
    x = alt.X("usual:Q", axis=alt.Axis(title="seconds", tickCount=3, format="~s"))
    median = base.mark_bar(color=ACCENT, height=11).encode(x=x)
    last = base.mark_tick(color=INK, thickness=2.5, height=17).encode(x=alt.X("last:Q"))
    return median + last


def _runs(chart_data: ChartData, width: int) -> Any:
    flows = sorted({value["flow"] for value in chart_data["values"]})
    legend = alt.Legend(columns=4 if width > PIXELS["narrow"] else 2)
    shape = alt.Shape("flow:N", scale=_palette(flows, _SHAPES[: len(flows)]), legend=legend)
    colours = ((ACCENT, INK, WARN, SOFT) * 2)[: len(flows)]
    colour = alt.Color("flow:N", scale=_palette(flows, colours), legend=legend)
    charts = []
    for field, title in (("cpu", "CPU seconds"), ("memory", "Peak memory, MiB")):
        values = [value for value in chart_data["values"] if value[field] is not None]
        if values:
            # Hollow marks, because runs of one day often cost the same.
            marks = _chart(values, width - _AXIS, 100, title=title).mark_point(size=44, strokeWidth=1.5, opacity=1)
            y = (
                _decades("cpu", [value["cpu"] for value in values])
                if field == "cpu"
                else _amount("memory", format=",~r")
            )
            charts.append(marks.encode(x=_days(chart_data), y=y, shape=shape, color=colour))
    return alt.vconcat(*charts, spacing=8)


def _quality(chart_data: ChartData, width: int) -> Any:
    x = _days(chart_data)
    base = _chart(chart_data["values"], width - _AXIS, 170).encode(x=x)
    band = base.mark_area(color=ACCENT, opacity=0.2).encode(
        y=_amount("lower", tickCount=4, format="~g"), y2=alt.Y2("upper")
    )
    line = base.mark_line(color=ACCENT, strokeWidth=2).encode(y=alt.Y("value:Q"))
    points = base.mark_point(color=ACCENT, filled=True, size=24, opacity=1).encode(y=alt.Y("value:Q"))
    return alt.layer(band, line, points, *_marks(chart_data, width, x))


def _marks(chart_data: ChartData, width: int, x: Any) -> list[Any]:
    """A vertical line and a label per event. Each kind of event has its own label height to avoid overlaps."""
    layers: list[Any] = []
    styles: dict[str, tuple[str, list[int]]] = {
        "alarm": (BAD, [1, 0]),
        "new model": (SOFT, [4, 3]),
        "rollback": (WARN, [2, 2]),
    }
    kinds = [kind for kind in styles if any(event["what"] == kind for event in chart_data["marks"])]
    for row, kind in enumerate(kinds):
        colour, dash = styles[kind]
        for late, align, dx in ((False, "left", 5), (True, "right", -5)):
            events = [
                event
                for event in chart_data["marks"]
                if event["what"] == kind and _is_late(event["day"], chart_data) == late
            ]
            if events:
                marks = _chart(events, width - _AXIS, 170).encode(x=x)
                layers.append(marks.mark_rule(color=colour, strokeWidth=1.5, strokeDash=dash))
                text = marks.mark_text(text=kind, align=align, dx=dx, color=colour)  # type: ignore[arg-type]
                layers.append(text.encode(y=alt.value(6 + 16 * row)))
    return layers


def _is_late(day: str, chart_data: ChartData) -> bool:
    return day >= str(chart_data["late"])


def _coverage(chart_data: ChartData, width: int) -> Any:
    names = ["users with own recommendations", "catalogue recommended"]
    legend = alt.Legend(columns=1)
    return (
        _chart(chart_data["values"], width - _AXIS, 130)
        .mark_line(strokeWidth=2)
        .encode(
            x=_days(chart_data),
            y=_amount("share", 1, format="%", tickCount=4),
            color=alt.Color("what:N", scale=_palette(names, [ACCENT, INK]), legend=legend),
            strokeDash=alt.StrokeDash("what:N", scale=_palette(names, [[1, 0], [5, 3]]), legend=legend),
        )
    )


def _hours(chart_data: ChartData) -> Any:
    """The time axis of 24 hours, in UTC."""
    scale = alt.Scale(domain=chart_data["hours"], type="utc")
    return alt.X("at:T", scale=scale, axis=alt.Axis(format="%H:%M", tickCount=6, grid=False, title=None))


def _streamed(chart_data: ChartData, width: int) -> Any:
    area = _chart(chart_data["values"], width - _AXIS, 100).mark_area(color=ACCENT, interpolate="step-after")
    return area.encode(x=_hours(chart_data), y=_amount("plays", tickCount=3))


def _latency(chart_data: ChartData, width: int) -> Any:
    names = ["median", "p99"]
    legend = alt.Legend(columns=2)
    return (
        _chart(chart_data["values"], width - _AXIS, 100)
        .mark_point(filled=True, size=16, opacity=1)
        .encode(
            x=_hours(chart_data),
            y=_amount("seconds", tickCount=3, format="~g"),
            color=alt.Color("what:N", scale=_palette(names, [ACCENT, INK]), legend=legend),
            shape=alt.Shape("what:N", scale=_palette(names, ["circle", "diamond"]), legend=legend),
        )
    )


_CHARTS: dict[str, Callable[[ChartData, int], Any]] = {
    "rows": _rows,
    "rejected": _rejected,
    "expectations": _expectations,
    "steps": _steps,
    "runs": _runs,
    "quality": _quality,
    "coverage": _coverage,
    "streamed": _streamed,
    "latency": _latency,
}
