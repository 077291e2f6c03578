"""What is on the page now: read, judged and drawn; by one at a time, and kept for a moment."""

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
from serving.dashboard.incidents import OpenIncidents, read_incidents
from serving.dashboard.links import Links
from serving.dashboard.page import HealthPage
from serving.dashboard.page_data import read_page_data
from serving.database import Database

# Pictures are kept for longer: for as long as their values are the same.
_SECONDS_TO_KEEP = 5.0


@dataclass
class HealthPageBuilder:
    """Makes the content of the page. Whoever asks while it is made waits for the same one."""

    settings: Settings
    database: Database
    clock: Clock
    chart_renderer: ChartRenderer = field(default_factory=ChartRenderer)
    seconds_to_keep: float = _SECONDS_TO_KEEP
    _kept: HealthPage | None = None
    _until: float = 0.0
    _making: asyncio.Task[HealthPage] | None = None

    async def look(self) -> HealthPage:
        """How it is. Raises SettingsError when nobody can tell the time."""
        if self._kept is not None and time.monotonic() < self._until and self.database.unavailable_since is None:
            return self._kept
        if self._making is None or self._making.done():
            self._making = asyncio.create_task(self._make())
        return await asyncio.shield(self._making)

    def away(self, error: DatabaseError, *, trusted: bool) -> HealthPage:
        """What there is to say without figures. Alerts are for those whose key was known."""
        statement_refused = isinstance(error, StatementRefused)
        incidents = read_incidents(self.settings, utc_now()) if trusted else OpenIncidents()
        now, since = self.clock(), self.database.unavailable_since
        return HealthPage(
            now=now,
            health_status=health_without_database(incidents, statement_refused=statement_refused),
            incidents=incidents,
            links=Links.of(self.settings) if trusted else Links(),
            unavailable_since=None if since is None else now - timedelta(seconds=time.monotonic() - since),
            database_error=str(error) if trusted else "",
            statement_refused=statement_refused,
            trusted=trusted,
        )

    async def _make(self) -> HealthPage:
        now = self.clock()
        try:
            data = await read_page_data(self.database, now, self.settings.retrain_evaluated_at)
        except DatabaseError as error:
            return self.away(error, trusted=True)
        incidents = read_incidents(self.settings, utc_now())
        panels = make_panels(data)
        charts = await self.chart_renderer.render(panels)
        page = HealthPage(
            now=now,
            health_status=evaluate_health(data, incidents, now, self.settings.alert_published_within_hours),
            incidents=incidents,
            links=Links.of(self.settings),
            hours=self.settings.alert_published_within_hours,
            data=data,
            panels=panels,
            charts=charts,
        )
        await asyncio.to_thread(getattr, page, "html")  # milliseconds in which others are answered
        if all(panel.key in charts for panel in panels if panel.chart):
            self._kept, self._until = page, time.monotonic() + self.seconds_to_keep
        return page
