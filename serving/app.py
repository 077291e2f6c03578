"""Build the FastAPI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from core.clock import clock_of
from core.settings import Settings
from serving.access_control import AccessControl, api_key_finder
from serving.body_limit import BodyLimitMiddleware
from serving.console.routes import add_console
from serving.cross_origin import CrossOriginMiddleware
from serving.dashboard.routes import add_dashboard
from serving.database import Database
from serving.exposure_log import ExposureLog
from serving.head_requests import HeadRequestMiddleware
from serving.health import ReadinessCheck
from serving.metrics import ServingMetrics
from serving.openapi import add_openapi
from serving.problems import EXCEPTION_HANDLERS
from serving.request_logging import RequestLoggingMiddleware
from serving.routes import add_routes
from serving.routing import Dependencies
from serving.session_scorer import SessionScorer

# Large enough for a query that excludes 10,000 tracks by ids of 19 digits.
MAX_HEAD_BYTES = 262_144


def create_app(settings: Settings, url: str) -> FastAPI:
    """Create the API on the database at `url`. The database may be unavailable."""
    database, clock = Database(url, settings.serving_connections), clock_of(settings)
    limits_url = settings.serving_limits_url.get_secret_value()
    limits_database = Database(limits_url, settings.serving_connections) if limits_url else None
    dependencies = Dependencies(
        database,
        AccessControl(settings, api_key_finder(database), clock, limits_database),
        ServingMetrics(),
        ReadinessCheck(database),
        clock,
        SessionScorer({"SERVING_DATABASE_URL": url, "DATA_DIR": str(settings.data_dir)}),
        ExposureLog(database, clock),
        settings.stream_fresh,
        settings.recommend_played,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        databases = [database] if limits_database is None else [database, limits_database]
        for opened in databases:
            await opened.open()
        yield
        await dependencies.session_scorer.close()
        await dependencies.exposure_log.close()
        for opened in databases:
            await opened.close()

    app = FastAPI(
        title="MoovitaMix Recommendations",
        version="1.1.0",
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers=EXCEPTION_HANDLERS,
        generate_unique_id_function=lambda route: route.name,
    )
    app.add_middleware(HeadRequestMiddleware)
    app.add_middleware(BodyLimitMiddleware, max_bytes=settings.serving_max_body_bytes)
    if settings.serving_cors_origins:
        app.add_middleware(CrossOriginMiddleware, origins=settings.serving_cors_origins.split())
    app.add_middleware(RequestLoggingMiddleware, metrics=dependencies.metrics)
    add_routes(app, dependencies)
    add_dashboard(app, dependencies, settings)
    add_console(app, dependencies, settings)
    add_openapi(app, settings)
    return app
