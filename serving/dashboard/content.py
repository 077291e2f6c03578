"""What is on the page now: read, judged and drawn; by one at a time, and kept for a moment."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import timedelta

from core.clock import Clock, utc_now
from core.errors import DatabaseError, StatementRefused
from core.settings import Settings
from serving.dashboard.alerts import OpenAlerts, read_alerts
from serving.dashboard.drawing import Drawer
from serving.dashboard.figures import read_figures
from serving.dashboard.links import Links
from serving.dashboard.page import Content
from serving.dashboard.panels import make_panels
from serving.dashboard.verdict import judge, judge_without_figures
from serving.database import Database

# Pictures are kept for longer: for as long as their values are the same.
_SECONDS_TO_KEEP = 5.0


@dataclass
class Dashboard:
    """Makes the content of the page. Whoever asks while it is made waits for the same one."""

    settings: Settings
    database: Database
    clock: Clock
    drawer: Drawer = field(default_factory=Drawer)
    seconds_to_keep: float = _SECONDS_TO_KEEP
    _kept: Content | None = None
    _until: float = 0.0
    _making: asyncio.Task[Content] | None = None

    async def look(self) -> Content:
        """How it is. Raises SettingsError when nobody can tell the time."""
        if self._kept is not None and time.monotonic() < self._until and self.database.away_since is None:
            return self._kept
        if self._making is None or self._making.done():
            self._making = asyncio.create_task(self._make())
        return await asyncio.shield(self._making)

    def away(self, error: DatabaseError, *, trusted: bool) -> Content:
        """What there is to say without figures. Alerts are for those whose key was known."""
        refused = isinstance(error, StatementRefused)
        alerts = read_alerts(self.settings, utc_now()) if trusted else OpenAlerts()
        now, since = self.clock(), self.database.away_since
        return Content(
            now=now,
            verdict=judge_without_figures(alerts, refused=refused),
            alerts=alerts,
            links=Links.of(self.settings) if trusted else Links(),
            away_since=None if since is None else now - timedelta(seconds=time.monotonic() - since),
            why_away=str(error) if trusted else "",
            refused=refused,
            trusted=trusted,
        )

    async def _make(self) -> Content:
        now = self.clock()
        try:
            figures = await read_figures(self.database, now, self.settings.retrain_evaluated_at)
        except DatabaseError as error:
            return self.away(error, trusted=True)
        alerts = read_alerts(self.settings, utc_now())
        panels = make_panels(figures)
        pictures = await self.drawer.draw(panels)
        content = Content(
            now=now,
            verdict=judge(figures, alerts, now, self.settings.alert_published_within_hours),
            alerts=alerts,
            links=Links.of(self.settings),
            hours=self.settings.alert_published_within_hours,
            figures=figures,
            panels=panels,
            pictures=pictures,
        )
        await asyncio.to_thread(getattr, content, "html")  # milliseconds in which others are answered
        if all(panel.key in pictures for panel in panels if panel.drawing):
            self._kept, self._until = content, time.monotonic() + self.seconds_to_keep
        return content
