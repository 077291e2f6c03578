"""Pages about expectations: all of them, and the history of one expectation or figure over 90 days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from starlette.responses import Response

from core.endpoints import ENDPOINTS
from serving.console.console_request import ConsolePageMissing, ConsoleRequest
from serving.console.history_plot import PlotDay, draw_history
from serving.console.rendering import number
from serving.dashboard.page_data import latest_today

HISTORY_DAYS = 90
_SHORTEST_AXIS = 14


async def show_expectations(request: ConsoleRequest) -> Response:
    """The expectations and figures of each endpoint, those that failed most often first."""
    first, last = _days(request)
    data = await request.read(
        {"expectations": "expectations.find_expectations", "figures": "expectations.find_figures"},
        first_day=first,
        last_day=last,
    )
    by_endpoint = [
        (
            endpoint,
            [row for row in data["expectations"] if row["endpoint"] == endpoint],
            [row for row in data["figures"] if row["endpoint"] == endpoint],
        )
        for endpoint in ENDPOINTS
    ]
    return request.page(
        "expectations.html",
        "expectations",
        "Expectations",
        by_endpoint=[item for item in by_endpoint if item[1]],
        days=HISTORY_DAYS,
    )


async def show_expectation(request: ConsoleRequest) -> Response:
    """One expectation of an endpoint; `?column=` names its column if it has one. Raises ConsolePageMissing."""
    first, last = _days(request)
    endpoint, expectation = request.path_text("endpoint"), request.path_text("expectation")
    column = request.parameter("column")
    data = await request.read(
        {"history": "expectations.find_expectation_history"},
        endpoint=endpoint,
        expectation=expectation,
        column=column or None,
        first_day=first,
        last_day=last,
    )
    history = data["history"]
    if not history:
        raise ConsolePageMissing(f"No audit of the last {HISTORY_DAYS} days has this expectation.")
    newest, failures = history[-1], [row for row in history if not row["success"]]
    is_share = any("%" in (row["observed_value"] or "") for row in history) and newest["value"] is not None
    days = [_day_of_expectation(row) for row in history]
    return request.page(
        "expectation.html",
        "expectations",
        expectation,
        endpoint=endpoint,
        expectation=expectation,
        column=column,
        requirement=next((row["description"] for row in reversed(history) if row["success"]), newest["description"]),
        newest=newest,
        failures=failures[::-1],
        history=history[::-1],
        plot_of_history=_plot(f"{expectation} of {endpoint}", days, last, as_share=is_share),
        days=HISTORY_DAYS,
        bounds=_bounds_text(newest["lower"], newest["upper"], is_share),
        has_values=any(row["value"] is not None for row in history),
        value_text=lambda row: row["observed_value"] or number(row["value"]),
    )


async def show_figure(request: ConsoleRequest) -> Response:
    """One figure of an endpoint with its learned range. Raises ConsolePageMissing."""
    first, last = _days(request)
    endpoint, figure = request.path_text("endpoint"), request.path_text("figure")
    data = await request.read(
        {"history": "expectations.find_figure_history"},
        endpoint=endpoint,
        figure=figure,
        first_day=first,
        last_day=last,
    )
    history = data["history"]
    if not history:
        raise ConsolePageMissing(f"No batch of the last {HISTORY_DAYS} days has this figure.")
    days = [
        PlotDay(
            row["day"],
            row["value"],
            row["lower"],
            row["upper"],
            failed=not row["is_normal"],
            note=f"{row['day']}: {number(row['value'])}",
        )
        for row in history
    ]
    name = figure.replace("_", " ")
    return request.page(
        "figure.html",
        "expectations",
        f"{name} of {endpoint}",
        endpoint=endpoint,
        name=name,
        newest=history[-1],
        unusual=[row for row in reversed(history) if not row["is_normal"]],
        history=history[::-1],
        plot_of_history=_plot(f"{name} of {endpoint}", days, last),
        days=HISTORY_DAYS,
    )


def _days(request: ConsoleRequest) -> tuple[date, date]:
    last = latest_today(request.now)
    return last - timedelta(HISTORY_DAYS - 1), last


def _day_of_expectation(row: Mapping[str, Any]) -> PlotDay:
    note = f"{row['day']}: {row['observed_value'] or number(row['value'])}"
    return PlotDay(
        row["day"],
        row["value"],
        row["lower"],
        row["upper"],
        failed=not row["success"],
        critical=row["severity"] == "critical",
        note=note + ("" if row["success"] else f"; failed ({row['severity']})"),
    )


def _plot(name: str, days: Sequence[PlotDay], last: date, *, as_share: bool = False) -> Any:
    return draw_history(name, days, min(days[0].day, last - timedelta(_SHORTEST_AXIS)), last, as_share=as_share)


def _bounds_text(lower: float | None, upper: float | None, is_share: bool) -> str:
    def text(bound: float) -> str:
        return f"{100 * bound:.4g} %" if is_share else number(bound)

    if lower is None and upper is None:
        return "none stored"
    if upper is None:
        return f"at least {text(lower or 0.0)}"
    return f"at most {text(upper)}" if lower is None else f"{text(lower)} to {text(upper)}"
