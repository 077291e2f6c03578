"""Routes about the catalogue and about what a user has played."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from serving.error_responses import NOT_MODIFIED, READ_ERRORS, error_responses
from serving.problems import NOT_PUBLISHED, UNKNOWN_USER, Problem, not_published
from serving.recommendation_query import EPOCH, CatalogueQuery, HistoryQuery
from serving.routing import Dependencies, cacheable_response, scoped_route
from serving.schemas import History, NewTracks, PopularTracks, UserId

_DAYS = {"day": 1, "week": 7, "month": 30}


def catalogue_router(dependencies: Dependencies) -> APIRouter:
    """Popular and new tracks, and histories."""
    access_control, database = dependencies.access_control, dependencies.database
    track_router = APIRouter(route_class=scoped_route(access_control, "recommendations:read"), tags=["Read"])
    history_router = APIRouter(route_class=scoped_route(access_control, "history:read"), tags=["Read"])

    @track_router.get(
        "/v1/popular",
        summary="Popular tracks",
        response_model=PopularTracks,
        responses=NOT_MODIFIED | error_responses(*READ_ERRORS, NOT_PUBLISHED),
    )
    async def read_popular_tracks(request: Request, query: Annotated[CatalogueQuery, Query()]) -> Response:
        """The tracks that most users played in a period, most users first. There are no further pages."""
        values = {"period": query.period, "genre": query.genre or "", "n": query.limit}
        rows = await database.rows("serving/find_popular_tracks", values)
        if not rows:
            raise not_published()
        return cacheable_response(request, rows[0][0].encode())

    @track_router.get(
        "/v1/new",
        summary="New tracks",
        response_model=NewTracks,
        responses=NOT_MODIFIED | error_responses(*READ_ERRORS),
    )
    async def read_new_tracks(request: Request, query: Annotated[CatalogueQuery, Query()]) -> Response:
        """The tracks that were added to the catalogue in a period, newest first. There are no further pages."""
        now = dependencies.clock()
        since = now - timedelta(days=_DAYS[query.period]) if query.period in _DAYS else EPOCH
        name = (
            "serving/find_new_tracks.of_all_genres" if query.genre is None else "serving/find_new_tracks.of_one_genre"
        )
        values = {"genre": query.genre, "since": since, "now": now, "n": query.limit}
        rows = await database.rows(name, values)
        return cacheable_response(request, rows[0][0].encode())

    @history_router.get(
        "/v1/users/{user_id}/history",
        summary="Plays of a user",
        response_model=History,
        responses=NOT_MODIFIED | error_responses(*READ_ERRORS, UNKNOWN_USER),
    )
    async def read_history(request: Request, user_id: UserId, query: Annotated[HistoryQuery, Query()]) -> Response:
        """Published plays, newest first, without plays of removed tracks. A streamed play appears after the next batch
        is published.
        """
        before, position = query.before()
        values = {"user_id": user_id, "n": query.limit, "before": before, "position": position}
        ((is_known, content),) = await database.rows("serving/find_history", values)
        if not is_known:
            raise Problem(UNKNOWN_USER)
        return cacheable_response(request, content.encode())

    router = APIRouter()
    router.include_router(track_router)
    router.include_router(history_router)
    return router
