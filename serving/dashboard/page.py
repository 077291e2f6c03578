"""The health page as self-contained HTML, which looks the same from a server, from a file and in print."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from core.endpoints import ENDPOINTS
from core.runbook import RUNBOOK
from core.settings import PUBLISHED_WITHIN_HOURS
from serving.dashboard.chart_renderer import ChartSvgs
from serving.dashboard.health_status import HealthStatus, nights_missed
from serving.dashboard.incidents import OpenIncidents
from serving.dashboard.ingest_panels import NAMES
from serving.dashboard.links import Links
from serving.dashboard.page_data import PageData
from serving.dashboard.panel import Panel
from serving.dashboard.stream_panels import StreamSection

PAGE_TEMPLATES = Path(__file__).parent / "templates"
_DECISIONS_SHOWN = 10
_SECTION = re.compile(rf"{re.escape(RUNBOOK)}(#[\w-]+)", re.ASCII)
_ROLES = re.compile(r' role="graphics-[a-z]+"| aria-roledescription="[^"]*"')
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
WORDS = {"healthy": ("\u2713", "Healthy"), "attention": ("!", "Needs attention"), "broken": ("\u2715", "Broken")}


@dataclass(frozen=True)
class HealthPage:
    """The content of the page. `data` is None if the database did not respond, since `unavailable_since`."""

    now: datetime
    health_status: HealthStatus
    incidents: OpenIncidents
    links: Links
    hours: float = PUBLISHED_WITHIN_HOURS  # ALERT_PUBLISHED_WITHIN_HOURS
    data: PageData | None = None
    panels: Sequence[Panel] = ()
    stream: StreamSection | None = None
    charts: Mapping[str, ChartSvgs] = field(default_factory=dict)
    unavailable_since: datetime | None = None
    database_error: str = ""
    statement_refused: bool = False  # the database responds, but rejects our queries
    trusted: bool = True  # False while the API key cannot be verified

    @cached_property
    def html(self) -> str:
        """The HTML, rendered once."""
        return render(self)


def render(page: HealthPage) -> str:
    """Render the HTML."""
    return (
        _environment()
        .get_template("page.html")
        .render(
            page=page,
            links=page.links,
            csp=content_security_policy(),
            words=WORDS,
            runbook=RUNBOOK,
            **template_values(page),
        )
    )


def content_security_policy() -> str:
    """No resources, no scripts; only the embedded style sheet."""
    return f"default-src 'none'; style-src '{_style_hash()}'; base-uri 'none'; form-action 'none'"


def template_values(page: HealthPage) -> dict[str, Any]:
    """The values of the templates beside `page`, `links`, `words` and `runbook`."""
    data = page.data
    if data is None:
        return {}
    by_name = {status.endpoint: status for status in data.endpoints}
    return {
        "endpoints": [(NAMES[name], by_name.get(name), _freshness(by_name.get(name), page)) for name in ENDPOINTS],
        "last_runs": [
            (run.flow, _moment(run.started_at), _moment(run.finished_at), run.outcome or "-") for run in data.last_runs
        ],
        "decisions": [
            (
                str(decision.day),
                "daily evaluation" if decision.kind == "day" else decision.kind,
                decision.outcome,
                decision.why,
            )
            for decision in data.decisions[:_DECISIONS_SHOWN]
        ],
        "interrupted": [run for run in data.unfinished_runs if not run.at_work],
        "running": [run for run in data.unfinished_runs if run.at_work],
    }


def _freshness(endpoint: Any, page: HealthPage) -> str:
    if endpoint is None or endpoint.published_day is None:
        return "nothing published"
    missed = nights_missed(endpoint.published_day, page.now, page.hours)
    days = (page.now.date() - endpoint.published_day).days
    if days < 0:
        return "a day in the future" if days < -1 else "tomorrow"
    age = {0: "today", 1: "yesterday"}.get(days, f"{days} days old")
    return age if not missed else f"{age}, {missed} night{'s' if missed > 1 else ''} missed"


@cache
def _environment() -> Environment:
    environment = page_environment()
    environment.globals["style"] = Markup(_style())  # noqa: S704  a file of this package
    return environment


def page_environment(*folders: Path) -> Environment:
    """The templates of these folders and of the health page, with the filters that they share."""
    environment = Environment(
        loader=FileSystemLoader([*folders, PAGE_TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"moment": _moment, "ago": _ago, "svg": _inline}
    environment.filters |= {"whole_dates": _whole_dates, "with_links": _with_links}
    return environment


@cache
def _style() -> str:
    return (PAGE_TEMPLATES / "page.css").read_text()


@cache
def _style_hash() -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()


def _inline(svg: str, key: str) -> Markup:
    """An SVG rendered by our own process, labelled by the title of its panel."""
    # The parts of an image have no names of their own, so they must not have roles.
    labelled = _ROLES.sub("", svg).replace("<svg ", f'<svg role="img" aria-labelledby="{key}-title" ', 1)
    return Markup(labelled)  # noqa: S704  rendered by our own process


def _whole_dates(text: str) -> Markup:
    """The text, with line breaks inside dates prevented."""
    spans = _DATE.sub(r'<span class="whole">\g<0></span>', str(escape(text)))
    return Markup(spans)  # noqa: S704  escaped above


def _with_links(text: str, links: Links) -> Markup:
    """The text, with links to sections of the runbook if RUNBOOK_URL is set."""
    if not links.runbook:
        return escape(text)
    address = escape(links.runbook)
    linked = _SECTION.sub(lambda match: f'<a href="{address}{match[1]}">{match[0]}</a>', str(escape(text)))
    return Markup(linked)  # noqa: S704  escaped above, twice


def _moment(moment: datetime | date | None) -> str:
    if moment is None:
        return "-"
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if isinstance(moment, datetime) else str(moment)


def _ago(moment: datetime, now: datetime) -> str:
    minutes = max(0, int((now - moment).total_seconds() // 60))
    if minutes < 2:
        return "just now"
    if minutes < 120:
        return f"{minutes} minutes ago"
    return f"{minutes // 60} hours ago" if minutes < 48 * 60 else f"{minutes // 1440} days ago"
