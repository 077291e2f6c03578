"""`/dashboard`: the health page. It needs an API key, like every other path."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import HTMLResponse, Response

from core.errors import DatabaseError
from core.settings import Settings
from serving.dashboard.page import HealthPage, content_security_policy
from serving.dashboard.page_builder import HealthPageBuilder
from serving.error_responses import KEY_ERRORS, error_responses
from serving.problems import DATABASE_UNAVAILABLE, RETRY_SECONDS_DATABASE_UNAVAILABLE
from serving.request_context import context_of
from serving.routing import Dependencies, scoped_route

_PAGE = {"content": {"text/html": {"schema": {"type": "string"}}}}


def add_dashboard(app: FastAPI, dependencies: Dependencies, settings: Settings) -> None:
    """Add the route `/dashboard`."""
    dashboard = HealthPageBuilder(settings, dependencies.database, dependencies.clock)

    def page_without_database(request: Request, error: DatabaseError) -> Response:
        return _response(dashboard.page_without_database(error, trusted=False), request, str(error))

    router = APIRouter(
        route_class=scoped_route(dependencies.access_control, "dashboard:read", outage_response=page_without_database),
        tags=["Health"],
    )

    @router.get(
        "/dashboard",
        summary="Show the health page",
        response_class=HTMLResponse,
        responses={
            200: _PAGE | {"description": "The page."},
            503: _PAGE | {"description": "The page without data, because the database does not respond."},
            **error_responses(*KEY_ERRORS),
        },
    )
    async def read_dashboard(request: Request) -> Response:
        """An HTML page. In a browser, enter any user name, and the API key as the password."""
        page = await dashboard.current_page()
        return _response(page, request, page.database_error)

    app.include_router(router)


def _response(page: HealthPage, request: Request, reason: str) -> Response:
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
        context.problem, context.why = DATABASE_UNAVAILABLE.name, reason
    return HTMLResponse(page.html, 503 if page.data is None else 200, headers)
