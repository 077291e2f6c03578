"""The application: its parts, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from core.clock import clock_of
from core.settings import Settings
from serving.body import LimitedBody
from serving.dashboard.routes import add_dashboard
from serving.database import Database
from serving.gate import Gate, key_finder
from serving.head import HeadLikeGet
from serving.health import Watch
from serving.observation import Metrics, Observed
from serving.openapi import describe
from serving.problems import HANDLERS
from serving.routes import Parts, add_routes


def create_app(settings: Settings, url: str) -> FastAPI:
    """The API on the database at `url`, which may be down."""
    database, clock = Database(url, settings.serving_connections), clock_of(settings)
    parts = Parts(database, Gate(settings, key_finder(database), clock), Metrics(), Watch(database), clock)

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
        exception_handlers=HANDLERS,
    )
    app.add_middleware(HeadLikeGet)
    app.add_middleware(LimitedBody, most=settings.serving_max_body_bytes)
    app.add_middleware(Observed, metrics=parts.metrics)
    add_routes(app, parts)
    add_dashboard(app, parts, settings)
    describe(app)
    return app
