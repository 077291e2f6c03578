"""A request of a signed-in person: what every page of the console needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from fastapi import Request
from starlette.responses import Response

from core.runbook import RUNBOOK
from core.settings import Settings
from serving.console.console_sessions import ConsoleSession
from serving.console.rendering import console_response
from serving.dashboard.links import Links
from serving.database import Database

MAX_ID_DIGITS = 18


class ConsolePageMissing(Exception):
    """The page does not exist. The text says what is unknown, and is shown to the person."""


@dataclass(frozen=True)
class ConsoleRequest:
    """One request, its session, and what pages read from."""

    request: Request
    session: ConsoleSession
    database: Database
    settings: Settings
    links: Links
    now: datetime

    async def read(self, queries: Mapping[str, str], **parameters: Any) -> dict[str, Sequence[dict[str, Any]]]:
        """The rows of queries of `sql/console`, by key, from one database snapshot. Raises DatabaseError."""
        return await self.database.records({key: f"console/{name}" for key, name in queries.items()}, parameters)

    async def write(self, query: str, **parameters: Any) -> Sequence[tuple[Any, ...]]:
        """Execute a statement of `sql/console` that returns rows. Raises DatabaseError."""
        return await self.database.rows(f"console/{query}", parameters)

    def parameter(self, name: str, allowed: Sequence[str] | None = None) -> str:
        """A query parameter without outer spaces; empty if it is missing or not among the allowed ones."""
        value = self.request.query_params.get(name, "").strip()[:200].replace("\0", "")
        return value if allowed is None or value in allowed else ""

    def day(self, name: str) -> date | None:
        """A day of the query, such as 2026-11-22; None if it is missing, no day, or before 1970."""
        try:
            day = date.fromisoformat(self.parameter(name))
        except ValueError:
            return None
        return day if day.year >= 1970 else None

    def path_text(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])[:200].replace("\0", "")

    def path_id(self, name: str, what: str) -> int:
        """An id in the path. Raises ConsolePageMissing if it is no id."""
        return read_id(self.path_text(name), what)

    def page(self, template: str, section: str, title: str, status: int = 200, **values: Any) -> Response:
        """Render a page."""
        return console_response(
            template,
            status,
            section=section,
            title=title,
            session=self.session,
            links=self.links,
            now=self.now,
            runbook=RUNBOOK,
            **values,
        )


def read_id(text: str, what: str) -> int:
    """An id that fits into 64 bits. Raises ConsolePageMissing."""
    if text.isascii() and text.isdigit() and len(text) <= MAX_ID_DIGITS:
        return int(text)
    raise ConsolePageMissing(f"This is no id of a {what}. An id is a whole number.")
