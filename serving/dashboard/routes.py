"""`/dashboard`: the page for browsers and people, behind the gate of everything else."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import HTMLResponse, Response

from core.errors import DatabaseError
from core.settings import Settings
from serving.dashboard.page import HealthPage, content_security_policy
from serving.dashboard.page_builder import HealthPageBuilder
from serving.problems import DATABASE_UNAVAILABLE, RETRY_SECONDS_DATABASE_UNAVAILABLE
from serving.request_context import context_of
from serving.routes import Dependencies, scoped_route
from serving.schemas import error_responses

_PAGE = {"content": {"text/html": {"schema": {"type": "string"}}}}


def add_dashboard(app: FastAPI, dependencies: Dependencies, settings: Settings) -> None:
    """The one address of it."""
    dashboard = HealthPageBuilder(settings, dependencies.database, dependencies.clock)

    def away(request: Request, error: DatabaseError) -> Response:
        return _response(dashboard.away(error, trusted=False), request, str(error))

    router = APIRouter(
        route_class=scoped_route(dependencies.access_control, "dashboard:read", to_browser=away), tags=["health"]
    )

    @router.get(
        "/dashboard",
        summary="Is it healthy? A page for people",
        response_class=HTMLResponse,
        responses={
            200: _PAGE | {"description": "The page."},
            503: _PAGE | {"description": "The page, without figures: the database does not answer."},
            **error_responses(401, 403, 429),
        },
    )
    async def read_dashboard(request: Request) -> Response:
        """In a browser, the key is the password, of any user."""
        page = await dashboard.look()
        return _response(page, request, page.database_error)

    app.include_router(router)


def _response(page: HealthPage, request: Request, why: str) -> Response:
    headers = {
        "Content-Security-Policy": f"{content_security_policy()}; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
    if page.data is None:
        headers["Retry-After"] = str(RETRY_SECONDS_DATABASE_UNAVAILABLE)
        context = context_of(request.scope)
        context.problem, context.why = DATABASE_UNAVAILABLE.name, why
    return HTMLResponse(page.html, 503 if page.data is None else 200, headers)
