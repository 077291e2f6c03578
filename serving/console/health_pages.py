"""The first page of the console: the health page with a time range, and past incidents."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from markupsafe import Markup
from starlette.responses import Response

from core.clock import Clock
from core.runbook import RUNBOOK
from core.settings import Settings
from serving.console.console_request import ConsoleRequest
from serving.console.rendering import render_part
from serving.dashboard.incidents import read_closed_incidents
from serving.dashboard.page import WORDS, HealthPage, template_values
from serving.dashboard.page_builder import HealthPageBuilder
from serving.dashboard.page_data import DAYS
from serving.database import Database

RANGES = (7, DAYS, 90)
_REFRESH_SECONDS, _REDRAW_SECONDS = 60, 4
_CLOSED_SHOWN = 30
_CACHE_SECONDS = 2.0


class ConsoleHealth:
    """Builds the page for each time range. The status is always that of the default range."""

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        self._builders = {
            days: HealthPageBuilder(
                settings, database, clock, cache_seconds=_CACHE_SECONDS, days=days, renders_html=False
            )
            for days in RANGES
        }
        self._details: dict[int, tuple[HealthPage, Markup]] = {}

    async def show(self, request: ConsoleRequest) -> Response:
        """The page. `?days=` selects the range, and `?refresh=60` makes the browser load it again every minute."""
        text = request.parameter("days", tuple(map(str, RANGES)))
        days, refreshes = int(text) if text else DAYS, bool(request.parameter("refresh", (str(_REFRESH_SECONDS),)))
        page = await self._builders[DAYS].current_page()
        if days != DAYS:
            page = replace(await self._builders[days].current_page(), health_status=page.health_status)
        status, headers = (200, {}) if page.data is not None else (503, {"Retry-After": "2"})
        is_drawing = page.data is not None and any(
            panel.chart and panel.key not in page.charts for panel in page.panels
        )
        if is_drawing:
            headers["Refresh"] = str(_REDRAW_SECONDS)
        elif refreshes:
            headers["Refresh"] = str(_REFRESH_SECONDS)
        response = request.page(
            "health.html",
            "health",
            WORDS[page.health_status.state][1],
            status,
            page=page,
            details=await self._rendered_details(request, days, page),
            words=WORDS,
            days=days,
            ranges=RANGES,
            refresh=refreshes,
            closed_incidents=read_closed_incidents(request.settings)[:_CLOSED_SHOWN],
        )
        response.headers.update(headers)
        return response

    async def _rendered_details(self, request: ConsoleRequest, days: int, page: HealthPage) -> Markup:
        """The charts and tables, which are the same for every reader: rendered once, outside the event loop."""
        cached = self._details.get(days)
        if cached is not None and cached[0].data is page.data and cached[0].charts is page.charts:
            return cached[1]
        template = "details.html" if page.data is not None else "database_unavailable.html"
        values = {"page": page, "links": request.links, "runbook": RUNBOOK, **template_values(page)}
        details = await asyncio.to_thread(render_part, template, values)
        self._details[days] = page, details
        return details
