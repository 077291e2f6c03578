"""The routes of the API: authorize, look up, respond."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import Scope as RequestScope

from core.clock import Clock
from core.errors import DatabaseError
from serving import problems
from serving.access_control import AccessControl
from serving.database import Database
from serving.health import Readiness, ReadinessCheck
from serving.keys import Scope
from serving.metrics import ServingMetrics
from serving.problems import Problem, ProblemType
from serving.query_batching import BatchedQuery, QueryResult
from serving.request_context import context_of
from serving.schemas import (
    Count,
    FeedbackRequest,
    HealthReport,
    LivenessReport,
    Recommendations,
    SimilarTracks,
    StoredFeedback,
    TrackId,
    UserId,
    error_responses,
)

_JSON = "application/json"
_READ_ERRORS = (401, 403, 404, 413, 422, 429, 503)
_WRITE_ERRORS = (400, 401, 403, 408, 413, 422, 429, 503)
_DEFAULT_COUNT = 10
_COUNTS = {b"": _DEFAULT_COUNT} | {f"n={count}".encode(): count for count in range(1, 51)}
_MAX_FAST_PATH_DIGITS = 18  # any number of 18 digits fits into 64 bits
_ALIVE = orjson.dumps({"live": True})


OutageResponse = Callable[[Request, DatabaseError], Response]


@dataclass(frozen=True)
class Dependencies:
    """The objects that routes use."""

    database: Database
    access_control: AccessControl
    metrics: ServingMetrics
    readiness_check: ReadinessCheck
    clock: Clock
    serves_fresh: bool = True


def scoped_route(
    access_control: AccessControl,
    scope: Scope,
    *,
    fast_path: bool = False,
    outage_response: OutageResponse | None = None,
) -> type[APIRoute]:
    """Return a route class that authorizes the key for a scope before it reads the request.

    With `fast_path`, a simple valid request bypasses FastAPI's parsing, which takes half of the time; the endpoint
    takes an id and a count. With `outage_response`, the key may be an HTTP Basic password, and this function answers
    when the database cannot verify the key.
    """

    class ScopedRoute(APIRoute):
        def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
            options["openapi_extra"] = {"x-scope": scope} | ({"x-browser": True} if outage_response else {})
            super().__init__(path, endpoint, **options)

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def authorize_and_handle(request: Request) -> Response:
                try:
                    await access_control.authorize(request.scope, scope, browser=outage_response is not None)
                except DatabaseError as error:
                    if outage_response is None:
                        raise
                    return outage_response(request, error)
                arguments = _simple_arguments(request.scope) if fast_path else None
                return await (handle(request) if arguments is None else self.endpoint(*arguments))

            return authorize_and_handle

    return ScopedRoute


def _simple_arguments(request: RequestScope) -> tuple[int, int] | None:
    """The id in the path and `n` of a simple request; None for requests that FastAPI must parse or refuse."""
    (text,) = request["path_params"].values()
    count = _COUNTS.get(request["query_string"])
    if count is None or not (text.isascii() and text.isdigit() and len(text) <= _MAX_FAST_PATH_DIGITS):
        return None
    return int(text), count


def add_routes(app: FastAPI, dependencies: Dependencies) -> None:
    """Add all routes except the dashboard."""
    app.include_router(_reading(dependencies))
    app.include_router(_feedback(dependencies))
    app.include_router(_health(dependencies))
    app.include_router(_metrics(dependencies))


def _reading(dependencies: Dependencies) -> APIRouter:
    router = APIRouter(
        route_class=scoped_route(dependencies.access_control, "recommendations:read", fast_path=True), tags=["read"]
    )
    recommendations = BatchedQuery(
        dependencies.database, "serving/find_recommendations", {"fresh": dependencies.serves_fresh}
    )
    similar_tracks = BatchedQuery(dependencies.database, "serving/find_similar_tracks")

    @router.get(
        "/v1/users/{user_id}/recommendations",
        summary="Recommendations for a user",
        response_model=Recommendations,
        responses=error_responses(*_READ_ERRORS),
    )
    async def read_recommendations(user_id: UserId, n: Count = _DEFAULT_COUNT) -> Response:
        """Best first, without removed tracks. `fallback` is true if the user has no recommendations of their own."""
        return _lookup_response(await recommendations(user_id, n), problems.UNKNOWN_USER)

    @router.get(
        "/v1/tracks/{track_id}/similar",
        summary="Similar tracks",
        response_model=SimilarTracks,
        responses=error_responses(*_READ_ERRORS),
    )
    async def read_similar_tracks(track_id: TrackId, n: Count = _DEFAULT_COUNT) -> Response:
        """Most similar first. Empty if no similar track is known."""
        return _lookup_response(await similar_tracks(track_id, n), problems.UNKNOWN_TRACK)

    return router


def _lookup_response(result: QueryResult, unknown: ProblemType) -> Response:
    if result.response is not None:
        return Response(result.response, media_type=_JSON)
    if not result.live:
        raise _not_published()
    raise Problem(unknown, "unknown, or removed")


def _feedback(dependencies: Dependencies) -> APIRouter:
    router = APIRouter(route_class=scoped_route(dependencies.access_control, "feedback:write"), tags=["write"])

    @router.post(
        "/v1/feedback",
        summary="Send feedback on a recommended track",
        response_model=StoredFeedback,
        responses={
            201: {"model": StoredFeedback, "description": "New, and stored."},
            **error_responses(*_WRITE_ERRORS),
        },
        response_description="Updated: the feedback was stored before.",
    )
    async def give_feedback(feedback: FeedbackRequest, request: Request) -> Response:
        """One value per user, track and publication. The same value changes nothing; another value replaces it."""
        parameters = feedback.model_dump() | {"key_id": context_of(request.scope).key_id, "now": dependencies.clock()}
        (row,) = await dependencies.database.rows("serving/record_feedback", parameters)
        user_exists, track_exists, publication_exists, is_new, stored = row
        references = {"user_id": user_exists, "track_id": track_exists, "publication_id": publication_exists}
        unknown = [
            {"field": f"body.{name}", "message": "is unknown"} for name, exists in references.items() if not exists
        ]
        if unknown:
            raise Problem(problems.UNKNOWN_REFERENCE, "errors lists the unknown or removed references", errors=unknown)
        return Response(stored.encode(), 201 if is_new else 200, media_type=_JSON)

    return router


def _health(dependencies: Dependencies) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get(
        "/health/live",
        summary="Liveness",
        response_model=LivenessReport,
        responses=error_responses(),
    )
    async def live() -> Response:
        """Always 200 while the process runs."""
        return Response(_ALIVE, media_type=_JSON)

    @router.get(
        "/health/ready",
        summary="Readiness",
        response_model=HealthReport,
        responses=error_responses(503),
    )
    @router.get("/health", summary="Health", response_model=HealthReport, responses=error_responses(503))
    async def health() -> Response:
        """200 if the database responds and recommendations are published. Otherwise the problem contains the report."""
        return _report(await dependencies.readiness_check.readiness(), dependencies.clock())

    return router


def _report(health: Readiness, now: datetime) -> Response:
    report = HealthReport(
        live=True,
        ready=health.ready,
        database=health.database,
        publication_id=health.publication_id,
        published_at=health.live_from,
        publication_age_seconds=health.age_seconds(now),
    )
    if not health.ready:
        raise _not_ready(health, report.model_dump())
    return Response(orjson.dumps(report.model_dump()), media_type=_JSON)


def _not_ready(health: Readiness, report: dict[str, Any]) -> Problem:
    """The problem that a request for recommendations would get."""
    if health.database:
        return _not_published(report)
    headers = {"Retry-After": str(problems.RETRY_SECONDS_DATABASE_UNAVAILABLE)}
    return Problem(problems.DATABASE_UNAVAILABLE, "try again in a moment", headers, extra_members=report)


def _not_published(extra_members: dict[str, Any] | None = None) -> Problem:
    headers = {"Retry-After": str(problems.RETRY_SECONDS_NOT_PUBLISHED)}
    explanation = "there are no recommendations before the first publication"
    return Problem(problems.NOT_PUBLISHED, explanation, headers, extra_members=extra_members)


def _metrics(dependencies: Dependencies) -> APIRouter:
    router = APIRouter(route_class=scoped_route(dependencies.access_control, "metrics:read"), tags=["health"])

    @router.get(
        "/metrics",
        summary="Prometheus metrics",
        response_class=Response,
        responses={
            200: {
                "content": {"text/plain": {"schema": {"type": "string"}}},
                "description": "Prometheus's text format.",
            },
            **error_responses(401, 403, 429, 503),
        },
    )
    async def read_metrics() -> Response:
        """Requests, durations, the age of the live publication, and whether the database responds."""
        health = await dependencies.readiness_check.readiness()
        dependencies.metrics.database_up.set(health.database)
        age = health.age_seconds(dependencies.clock())
        dependencies.metrics.publication_age_seconds.set(float("nan") if age is None else age)
        return Response(dependencies.metrics.text(), media_type="text/plain; version=0.0.4")

    return router
