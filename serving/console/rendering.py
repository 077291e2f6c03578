"""Render the templates of the console with one style sheet, and the headers of every page."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup
from starlette.responses import HTMLResponse

from serving.dashboard.page import PAGE_TEMPLATES, page_environment

_TEMPLATES = Path(__file__).parent / "templates"
PREFIX = "/console"
# The pages of the navigation, in order.
SECTIONS = (
    ("health", "Health", PREFIX),
    ("batches", "Batches", f"{PREFIX}/batches"),
    ("expectations", "Expectations", f"{PREFIX}/expectations"),
    ("models", "Models", f"{PREFIX}/models"),
    ("explore", "Explore", f"{PREFIX}/explore"),
    ("experiments", "Experiments", f"{PREFIX}/experiments"),
    ("stream", "Stream", f"{PREFIX}/stream"),
    ("actions", "Actions", f"{PREFIX}/actions"),
    ("runbook", "Runbook", f"{PREFIX}/runbook"),
)


def console_response(
    template: str, status: int = 200, headers: dict[str, str] | None = None, **values: Any
) -> HTMLResponse:
    """A page of the console with its security headers."""
    html = _environment().get_template(template).render(**values)
    return HTMLResponse(html, status, security_headers() | (headers or {}))


def render_part(template: str, values: Mapping[str, Any]) -> Markup:
    """A part of a page."""
    return Markup(_environment().get_template(template).render(values))  # noqa: S704  the template escapes


def security_headers() -> dict[str, str]:
    """The headers of every page: no scripts, only the embedded style sheet, forms to this server only."""
    policy = (
        f"default-src 'none'; style-src '{_style_hash()}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def number(value: float | None) -> str:
    """A number for people: `1,204`, `0.042` or `12.5`; `-` for None and what is not finite."""
    if value is None or not math.isfinite(value):
        return "-"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4g}"


def period(start: datetime, end: datetime | None) -> str:
    """How long something took, such as `42 s` or `3 min`; `-` while it has no end."""
    if end is None:
        return "-"
    seconds = max(0.0, (end - start).total_seconds())
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def minute(moment: datetime | date | None) -> str:
    """A time without its zone, for tables whose head names it; `-` for None."""
    if moment is None:
        return "-"
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}" if isinstance(moment, datetime) else str(moment)


@cache
def _environment() -> Environment:
    environment = page_environment(_TEMPLATES)
    environment.filters |= {"number": number, "minute": minute}
    environment.globals |= {
        "console_style": Markup(_style()),  # noqa: S704  files of this package
        "sections": SECTIONS,
        "period": period,
    }
    return environment


@cache
def _style() -> str:
    return (PAGE_TEMPLATES / "page.css").read_text() + (_TEMPLATES / "console.css").read_text()


@cache
def _style_hash() -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
