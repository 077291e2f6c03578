"""The routes of the API: authorize, look up, respond."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, FastAPI, Query, Request
from starlette.responses import Response

from serving.catalogue_routes import catalogue_router
from serving.error_responses import BODY_ERRORS, KEY_ERRORS, NOT_MODIFIED, READ_ERRORS, error_responses
from serving.feedback_routes import feedback_router
from serving.health import Readiness
from serving.problems import (
    DATABASE_UNAVAILABLE,
    EXPIRED_CURSOR,
    NOT_PUBLISHED,
    RETRY_SECONDS_DATABASE_UNAVAILABLE,
    SESSIONS_UNAVAILABLE,
    UNKNOWN_TRACK,
    UNKNOWN_USER,
    Problem,
    ProblemType,
    not_published,
)
from serving.query_batching import BatchedQuery, QueryResult
from serving.recommendation_query import LimitQuery, RecommendationQuery
from serving.routing import JSON, Dependencies, cacheable_response, scoped_route
from serving.schemas import (
    HealthReport,
    LivenessReport,
    Recommendations,
    SessionRecommendations,
    SessionRequest,
    SimilarTracks,
    TrackId,
    UserId,
)

_EXPIRED = {
    "pruned": EXPIRED_CURSOR.detail,
    "unknown": "no publication with the number of this cursor was published; read again without a cursor",
    "changed": "the list of this cursor has changed, because the user has played music since, prefers another genre, or"
    " another publication is live; read again without a cursor, and with exclude for the tracks that are shown already",
}
# Tracks that were removed since the model was trained leave no gap.
_SPARE_TRACKS = 20
_ALIVE = orjson.dumps({"live": True})


def add_routes(app: FastAPI, dependencies: Dependencies) -> None:
    """Add all routes except the dashboard."""
    app.include_router(_reading(dependencies))
    app.include_router(catalogue_router(dependencies))
    app.include_router(feedback_router(dependencies))
    app.include_router(_health(dependencies))
    app.include_router(_metrics(dependencies))


def _reading(dependencies: Dependencies) -> APIRouter:
    access_control = dependencies.access_control
    list_router = APIRouter(
        route_class=scoped_route(access_control, "recommendations:read", fast_path=RecommendationQuery), tags=["Read"]
    )
    similar_router = APIRouter(
        route_class=scoped_route(access_control, "recommendations:read", fast_path=LimitQuery), tags=["Read"]
    )
    recommendations = BatchedQuery(
        dependencies.database, "serving/find_recommendations", {"fresh": dependencies.serves_fresh}
    )
    similar_tracks = BatchedQuery(dependencies.database, "serving/find_similar_tracks")

    @list_router.get(
        "/v1/users/{user_id}/recommendations",
        summary="Recommendations for a user",
        response_model=Recommendations,
        responses=NOT_MODIFIED | error_responses(*READ_ERRORS, NOT_PUBLISHED, UNKNOWN_USER, EXPIRED_CURSOR),
    )
    async def read_recommendations(
        request: Request, user_id: UserId, query: Annotated[RecommendationQuery, Query()]
    ) -> Response:
        """Tracks for a user, best first, without removed and hidden tracks. A user without recommendations of their own
        gets popular tracks, and `fallback` is true.

        A list has at most `RECOMMENDATIONS_PER_USER` tracks (50 by default). Filters choose from these tracks, so a
        response can be empty.

        All pages of a cursor stay on the list with which the first page began. The cursor of a list that follows the
        plays of the user expires with each new play. After 410, read again without `cursor`, and with `exclude` for the
        tracks that your page shows.

        With `explain=true`, the reason of a track can be null. With a popularity model it often is.
        """
        try:
            result = await recommendations(user_id, query.count, query.options())
        except Exception:
            dependencies.exposure_log.record_failure(user_id)
            raise
        if result.expired is not None and result.live and result.exists:
            raise Problem(EXPIRED_CURSOR, _EXPIRED[result.expired])
        if result.experiment_id is not None:
            dependencies.exposure_log.record(result.experiment_id, user_id, result.is_treatment)
        return _lookup_response(request, result, UNKNOWN_USER)

    @similar_router.get(
        "/v1/tracks/{track_id}/similar",
        summary="Similar tracks",
        response_model=SimilarTracks,
        responses=NOT_MODIFIED | error_responses(*READ_ERRORS, NOT_PUBLISHED, UNKNOWN_TRACK),
    )
    async def read_similar_tracks(
        request: Request, track_id: TrackId, query: Annotated[LimitQuery, Query()]
    ) -> Response:
        """Most similar first. Empty if no similar track is known."""
        return _lookup_response(request, await similar_tracks(track_id, query.count), UNKNOWN_TRACK)

    session_router = APIRouter(route_class=scoped_route(access_control, "recommendations:read"), tags=["Read"])

    @session_router.post(
        "/v1/recommendations",
        summary="Recommendations for a session without an account",
        response_model=SessionRecommendations,
        responses=error_responses(
            *BODY_ERRORS,
            NOT_PUBLISHED,
            SESSIONS_UNAVAILABLE,
            invalid={"field": "body.limit", "message": "must be at most 50"},
        ),
    )
    async def recommend_to_session(session: SessionRequest) -> Response:
        """Recommends tracks to a session from the tracks that it has played. The API stores nothing. After the API
        starts, the first requests get 503 `model-away` until the model is loaded.
        """
        count = session.limit + _SPARE_TRACKS
        scored = await dependencies.session_scorer.recommend(session.tracks, session.exclude, count)
        parameters = {
            "publication_id": scored.publication_id,
            "known_tracks": scored.known_tracks,
            "track_ids": scored.track_ids,
            "scores": scored.scores,
            "excluded": session.exclude + ([] if dependencies.recommends_played else session.tracks),
            "n": session.limit,
        }
        rows = await dependencies.database.rows("serving/describe_session_tracks", parameters)
        if not rows:
            raise not_published()
        return Response(rows[0][0].encode(), media_type=JSON)

    router = APIRouter()
    router.include_router(session_router)
    router.include_router(list_router)
    router.include_router(similar_router)
    return router


def _lookup_response(request: Request, result: QueryResult, unknown: ProblemType) -> Response:
    if result.response is not None:
        return cacheable_response(request, result.response)
    if not result.live:
        raise not_published()
    raise Problem(unknown)


def _health(dependencies: Dependencies) -> APIRouter:
    router = APIRouter(tags=["Health"])

    @router.get(
        "/health/live",
        name="read_liveness",
        summary="Liveness",
        response_model=LivenessReport,
        responses=error_responses(),
    )
    async def live() -> Response:
        """Always 200 while the process runs."""
        return Response(_ALIVE, media_type=JSON)

    @router.get(
        "/health/ready",
        name="read_readiness",
        summary="Readiness",
        response_model=HealthReport,
        responses=error_responses(DATABASE_UNAVAILABLE, NOT_PUBLISHED),
    )
    @router.get(
        "/health",
        name="read_health",
        summary="Health",
        response_model=HealthReport,
        responses=error_responses(DATABASE_UNAVAILABLE, NOT_PUBLISHED),
    )
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
    return Response(orjson.dumps(report.model_dump()), media_type=JSON)


def _not_ready(health: Readiness, report: dict[str, Any]) -> Problem:
    """The problem that a request for recommendations would get."""
    if health.database:
        return not_published(report)
    headers = {"Retry-After": str(RETRY_SECONDS_DATABASE_UNAVAILABLE)}
    return Problem(DATABASE_UNAVAILABLE, headers=headers, extra_members=report)


def _metrics(dependencies: Dependencies) -> APIRouter:
    router = APIRouter(route_class=scoped_route(dependencies.access_control, "metrics:read"), tags=["Health"])

    @router.get(
        "/metrics",
        summary="Prometheus metrics",
        response_class=Response,
        responses={
            200: {
                "content": {"text/plain": {"schema": {"type": "string"}}},
                "description": "Prometheus's text format.",
            },
            **error_responses(*KEY_ERRORS, DATABASE_UNAVAILABLE),
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
