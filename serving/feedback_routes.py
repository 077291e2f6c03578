"""Routes for what clients send back: feedback, also in batches, and impressions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from core.clock import CLOCK_SKEW
from serving.error_responses import BODY_ERRORS, error_responses
from serving.problems import UNKNOWN_REFERENCE, Problem
from serving.request_context import context_of
from serving.routing import JSON, Dependencies, scoped_route
from serving.schemas import (
    BatchReport,
    FeedbackBatch,
    FeedbackRequest,
    ImpressionBatch,
    StoredFeedback,
)

_REFERENCES = ("user_id", "track_id", "publication_id")


def feedback_router(dependencies: Dependencies) -> APIRouter:
    """Feedback and impressions."""
    router = APIRouter(route_class=scoped_route(dependencies.access_control, "feedback:write"), tags=["Write"])

    @router.post(
        "/v1/feedback",
        summary="Send feedback on a recommended track",
        response_model=StoredFeedback,
        responses={
            201: {"model": StoredFeedback, "description": "New, and stored."},
            **error_responses(
                *BODY_ERRORS,
                UNKNOWN_REFERENCE,
                invalid={"field": "body.useful", "message": "must be true or false"},
            ),
        },
        response_description="Updated: the feedback was stored before.",
    )
    async def give_feedback(feedback: FeedbackRequest, request: Request) -> Response:
        """Stores one value for each combination of user, track, publication and API key. Sending the same value again
        changes nothing. Sending the other value replaces it.
        """
        parameters = feedback.model_dump() | {"key_id": context_of(request.scope).key_id, "now": dependencies.clock()}
        (row,) = await dependencies.database.rows("serving/record_feedback", parameters)
        *exists, is_new, stored = row
        unknown = [
            {"field": f"body.{name}", "message": "is unknown"}
            for name, is_known in zip(_REFERENCES, exists, strict=True)
            if not is_known
        ]
        if unknown:
            raise Problem(UNKNOWN_REFERENCE, errors=unknown)
        return Response(stored.encode(), 201 if is_new else 200, media_type=JSON)

    @router.post(
        "/v1/feedback/batch",
        summary="Send feedback of several kinds",
        response_model=BatchReport,
        responses=error_responses(*BODY_ERRORS, invalid={"field": "body.feedback.400.kind", "message": "is required"}),
    )
    async def give_feedback_batch(batch: FeedbackBatch, request: Request) -> Response:
        """Stores each kind once for a user, track, publication and API key. `useful` and `not_useful` replace each
        other. You may send a batch again.

        `hide` is final: the API cannot undo it. The track leaves the recommendations of the user at once. It stays in
        similar, popular and new tracks, and in recommendations for sessions.

        A malformed item refuses the whole batch with 422, and nothing is stored. An item with an unknown id is rejected
        alone: `rejected` names it, and the other items are stored.
        """
        key_id = context_of(request.scope).key_id or ""
        await dependencies.access_control.count_feedback(key_id, len(batch.feedback) - 1)
        values = {
            "user_ids": [item.user_id for item in batch.feedback],
            "track_ids": [item.track_id for item in batch.feedback],
            "publication_ids": [item.publication_id for item in batch.feedback],
            "kinds": [item.kind for item in batch.feedback],
            "key_id": key_id,
            "now": dependencies.clock(),
        }
        rows = await dependencies.database.rows("serving/record_feedback_batch", values)
        return _report(len(batch.feedback), _unknown_references(rows))

    @router.post(
        "/v1/impressions",
        summary="Report which tracks were shown",
        response_model=BatchReport,
        responses=error_responses(
            *BODY_ERRORS, invalid={"field": "body.impressions.400.rank", "message": "is required"}
        ),
    )
    async def report_impressions(batch: ImpressionBatch, request: Request) -> Response:
        """Stores one impression for each combination of user, publication, track and time. You may send a batch again.
        If the publication did not recommend the track to the user, the impression is marked as not recommended.

        A malformed item refuses the whole batch with 422, and nothing is stored. An item with an unknown id, or with a
        time more than about 5 minutes ahead of the API's clock, is rejected alone: `rejected` names it, and the other
        items are stored.
        """
        key_id, now = context_of(request.scope).key_id or "", dependencies.clock()
        await dependencies.access_control.count_feedback(key_id, len(batch.impressions) - 1)
        past = [index for index, item in enumerate(batch.impressions) if item.shown_at <= now + CLOCK_SKEW]
        impressions = [batch.impressions[index] for index in past]
        rejected = [
            {"index": index, "errors": [{"field": "shown_at", "message": "is in the future"}]}
            for index in sorted(set(range(len(batch.impressions))) - set(past))
        ]
        values = {
            "user_ids": [item.user_id for item in impressions],
            "track_ids": [item.track_id for item in impressions],
            "publication_ids": [item.publication_id for item in impressions],
            "ranks": [item.rank for item in impressions],
            "shown_at": [item.shown_at for item in impressions],
            "key_id": key_id,
            "now": now,
        }
        rows = await dependencies.database.rows("serving/record_impressions", values)
        unknown = _unknown_references([(past[index], *flags) for index, *flags in rows])
        return _report(len(batch.impressions), sorted(rejected + unknown, key=lambda item: item["index"]))

    return router


def _unknown_references(rows: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
    return [
        {
            "index": index,
            "errors": [
                {"field": name, "message": "is unknown"}
                for name, is_unknown in zip(_REFERENCES, flags, strict=True)
                if is_unknown
            ],
        }
        for index, *flags in rows
    ]


def _report(items: int, rejected: list[dict[str, Any]]) -> Response:
    return Response(orjson.dumps({"accepted": items - len(rejected), "rejected": rejected}), media_type=JSON)
