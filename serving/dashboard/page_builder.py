"""Build the health page: read the data, evaluate the health status, render charts, and cache the page briefly."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import timedelta

from core.clock import Clock, utc_now
from core.errors import DatabaseError, StatementRefused
from core.settings import Settings
from serving.dashboard.all_panels import make_panels
from serving.dashboard.chart_renderer import ChartRenderer
from serving.dashboard.health_status import evaluate_health, health_without_database
from serving.dashboard.incidents import OpenIncidents, read_incidents, set_snoozed_apart
from serving.dashboard.links import Links
from serving.dashboard.page import HealthPage
from serving.dashboard.page_data import DAYS, read_page_data
from serving.dashboard.stream_panels import stream_section
from serving.database import Database

# Charts are cached for longer: until their values change.
_CACHE_SECONDS = 0.5


@dataclass
class HealthPageBuilder:
    """Build and cache the page. Concurrent requests wait for the same build."""

    settings: Settings
    database: Database
    clock: Clock
    chart_renderer: ChartRenderer = field(default_factory=ChartRenderer)
    cache_seconds: float = _CACHE_SECONDS
    days: int = DAYS
    renders_html: bool = True  # False: the caller renders a page of its own
    _cached: HealthPage | None = None
    _cached_until: float = 0.0
    _build_task: asyncio.Task[HealthPage] | None = None

    async def current_page(self) -> HealthPage:
        """The page as of now. Raises SettingsError if the clock file cannot be read."""
        if (
            self._cached is not None
            and time.monotonic() < self._cached_until
            and self.database.unavailable_since is None
        ):
            return self._cached
        if self._build_task is None or self._build_task.done():
            self._build_task = asyncio.create_task(self._build())
        return await asyncio.shield(self._build_task)

    def page_without_database(self, error: DatabaseError, *, trusted: bool) -> HealthPage:
        """The page without data. Incidents and links are shown only if the API key was verified (`trusted`)."""
        statement_refused = isinstance(error, StatementRefused)
        incidents = read_incidents(self.settings, utc_now()) if trusted else OpenIncidents()
        now, since = self.clock(), self.database.unavailable_since
        return HealthPage(
            now=now,
            health_status=health_without_database(incidents, statement_refused=statement_refused),
            incidents=incidents,
            links=Links.from_settings(self.settings) if trusted else Links(),
            unavailable_since=None if since is None else now - timedelta(seconds=time.monotonic() - since),
            database_error=str(error) if trusted else "",
            statement_refused=statement_refused,
            trusted=trusted,
        )

    async def _build(self) -> HealthPage:
        now = self.clock()
        try:
            data = await read_page_data(self.database, now, self.settings.retrain_evaluated_at, self.days)
        except DatabaseError as error:
            return self.page_without_database(error, trusted=True)
        snoozes = {
            snooze.incident_key: f"Snoozed until {snooze.snoozed_until:%Y-%m-%d %H:%M} UTC: {snooze.reason}"
            for snooze in data.snoozes
        }
        incidents = set_snoozed_apart(read_incidents(self.settings, utc_now()), snoozes)
        panels = make_panels(data)
        stream = stream_section(data, now, is_configured=self.settings.is_streaming)
        shown = [*(stream.panels if stream else ()), *panels]
        charts = await self.chart_renderer.render(shown)
        page = HealthPage(
            now=now,
            health_status=evaluate_health(data, incidents, now, self.settings.alert_published_within_hours, stream),
            incidents=incidents,
            links=Links.from_settings(self.settings),
            hours=self.settings.alert_published_within_hours,
            data=data,
            panels=panels,
            stream=stream,
            charts=charts,
        )
        if self.renders_html:
            await asyncio.to_thread(getattr, page, "html")  # outside the event loop
        if all(panel.key in charts for panel in shown if panel.chart):
            self._cached, self._cached_until = page, time.monotonic() + self.cache_seconds
        return page
