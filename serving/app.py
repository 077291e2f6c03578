"""Build the FastAPI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from core.clock import clock_of
from core.settings import Settings
from serving.access_control import AccessControl, api_key_finder
from serving.body_limit import BodyLimitMiddleware
from serving.dashboard.routes import add_dashboard
from serving.database import Database
from serving.head_requests import HeadRequestMiddleware
from serving.health import ReadinessCheck
from serving.metrics import ServingMetrics
from serving.openapi import add_openapi
from serving.problems import EXCEPTION_HANDLERS
from serving.request_logging import RequestLoggingMiddleware
from serving.routes import Dependencies, add_routes


def create_app(settings: Settings, url: str) -> FastAPI:
    """Create the API on the database at `url`. The database may be unavailable."""
    database, clock = Database(url, settings.serving_connections), clock_of(settings)
    dependencies = Dependencies(
        database,
        AccessControl(settings, api_key_finder(database), clock),
        ServingMetrics(),
        ReadinessCheck(database),
        clock,
        settings.stream_fresh,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await database.open()
        yield
        await database.close()

    app = FastAPI(
        title="MoovitaMix Recommendations",
        version="1.0.0",
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers=EXCEPTION_HANDLERS,
    )
    app.add_middleware(HeadRequestMiddleware)
    app.add_middleware(BodyLimitMiddleware, max_bytes=settings.serving_max_body_bytes)
    app.add_middleware(RequestLoggingMiddleware, metrics=dependencies.metrics)
    add_routes(app, dependencies)
    add_dashboard(app, dependencies, settings)
    add_openapi(app)
    return app
