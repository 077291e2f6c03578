"""`/dashboard`: the page for browsers and people, behind the gate of everything else."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import HTMLResponse, Response

from core.errors import DatabaseError
from core.settings import Settings
from serving.contract import problems as documented
from serving.dashboard.content import Dashboard
from serving.dashboard.page import Content, content_security_policy
from serving.notes import note_of
from serving.problems import DATABASE_AWAY, SECONDS_UNTIL_DATABASE_MAY_BE_BACK
from serving.routes import Parts, needs

_PAGE = {"content": {"text/html": {"schema": {"type": "string"}}}}


def add_dashboard(app: FastAPI, parts: Parts, settings: Settings) -> None:
    """The one address of it."""
    dashboard = Dashboard(settings, parts.database, parts.clock)

    def away(request: Request, error: DatabaseError) -> Response:
        return _response(dashboard.away(error, trusted=False), request, str(error))

    router = APIRouter(route_class=needs(parts.gate, "dashboard:read", to_browser=away), tags=["health"])

    @router.get(
        "/dashboard",
        summary="Is it healthy? A page for people",
        response_class=HTMLResponse,
        responses={
            200: _PAGE | {"description": "The page."},
            503: _PAGE | {"description": "The page, without figures: the database does not answer."},
            **documented(401, 403, 429),
        },
    )
    async def read_dashboard(request: Request) -> Response:
        """In a browser, the key is the password, of any user."""
        content = await dashboard.look()
        return _response(content, request, content.why_away)

    app.include_router(router)


def _response(content: Content, request: Request, why: str) -> Response:
    headers = {
        "Content-Security-Policy": f"{content_security_policy()}; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
    if content.figures is None:
        headers["Retry-After"] = str(SECONDS_UNTIL_DATABASE_MAY_BE_BACK)
        note = note_of(request.scope)
        note.problem, note.why = DATABASE_AWAY.name, why
    return HTMLResponse(content.html, 503 if content.figures is None else 200, headers)
