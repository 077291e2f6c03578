"""Schemas of requests and responses, with their descriptions for OpenAPI."""

from __future__ import annotations

import re
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from annotated_types import Ge, Le
from fastapi import Path, Query
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt
from pydantic.config import JsonDict

_LEAST, _MOST = -(2**63), 2**63 - 1
_INTEGER = re.compile("-?[0-9]{1,19}", re.ASCII)


def _plain_integer(value: object) -> object:
    """Accept digits only: no blanks, underscores or fractions, which Python would accept."""
    if isinstance(value, str) and not _INTEGER.fullmatch(value):
        raise ValueError("must be an integer")
    return value


_Id = Annotated[int, Ge(_LEAST), Le(_MOST), BeforeValidator(_plain_integer)]
UserId = Annotated[_Id, Path(json_schema_extra={"format": "int64"}, examples=[4211])]
TrackId = Annotated[_Id, Path(json_schema_extra={"format": "int64"}, examples=[917])]
_Count = Annotated[int, Ge(1), Le(50), BeforeValidator(_plain_integer)]
Count = Annotated[_Count, Query(description="The maximum number of tracks.", examples=[10])]
BodyId = Annotated[StrictInt, Field(ge=_LEAST, le=_MOST, json_schema_extra={"format": "int64"})]


def _with_example(example: JsonDict) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ResponseTrack(_Schema):
    """A track with its rank. Scores are comparable within one response only."""

    rank: int = Field(ge=1)
    track_id: int
    title: str
    artist: str
    score: float


class _Published(_Schema):
    publication_id: int = Field(description="The publication that this response is from. Send it with feedback.")
    published_at: AwareDatetime = Field(description="When the publication went live.")


class Recommendations(_Published):
    """Recommendations for a user, best first. Users without recommendations of their own get a fallback list."""

    user_id: int
    as_of: AwareDatetime = Field(
        description="Plays until then are included. Later than the publication if the user has played music since."
    )
    fallback: bool = Field(
        description="Whether the recommendations are a fallback: popular tracks of the favourite genre or of all users."
    )
    recommendations: list[ResponseTrack]

    model_config = _with_example(
        {
            "user_id": 4211,
            "publication_id": 7,
            "published_at": "2026-11-22T04:12:09.120931+00:00",
            "as_of": "2026-11-22T21:40:13.005112+00:00",
            "fallback": False,
            "recommendations": [
                {"rank": 1, "track_id": 917, "title": "Blue Hour", "artist": "Mara Lindqvist", "score": 0.93}
            ],
        }
    )


class SimilarTracks(_Published):
    """Tracks that the same users play, most similar first. Empty if too few users play the track."""

    track_id: int
    similar: list[ResponseTrack]

    model_config = _with_example(
        {
            "track_id": 917,
            "publication_id": 7,
            "published_at": "2026-11-22T04:12:09.120931+00:00",
            "similar": [
                {"rank": 1, "track_id": 31, "title": "Low Tide", "artist": "The Harbour Lights", "score": 0.71}
            ],
        }
    )


class FeedbackRequest(_Schema):
    """Whether a recommended track was useful to a user."""

    user_id: BodyId
    track_id: BodyId
    useful: StrictBool
    publication_id: BodyId | None = Field(None, description="The publication that recommended the track.")

    model_config = _with_example({"user_id": 4211, "track_id": 917, "useful": True, "publication_id": 7})


class StoredFeedback(_Schema):
    """The feedback as stored."""

    user_id: int
    track_id: int
    publication_id: int | None
    useful: bool
    created_at: AwareDatetime
    updated_at: AwareDatetime = Field(description="When `useful` last changed.")


class HealthReport(_Schema):
    """`ready` is true if the database responds and recommendations are published."""

    live: bool
    ready: bool
    database: bool
    publication_id: int | None
    published_at: datetime | None
    publication_age_seconds: float | None


class LivenessReport(_Schema):
    """The process responds."""

    live: bool


class FieldError(BaseModel):
    """One invalid field."""

    field: str
    message: str


class ProblemDetails(BaseModel):
    """An error as problem details (RFC 9457)."""

    type: str = Field(description="The type of the problem, the same for each occurrence.")
    title: str
    status: int
    detail: str
    instance: str = Field(description="This occurrence. The log of the service contains it too.")
    errors: list[FieldError] | None = Field(None, description="The invalid fields, with 422 only.")

    model_config = _with_example(
        {
            "type": "urn:moovitamix:problem:unknown-listener",
            "title": "No such user",
            "status": 404,
            "detail": "unknown, or removed",
            "instance": "urn:uuid:6f0f1e1c-52f2-4c0e-9f6f-0d6f6f4f2b7a",
        }
    )


_WHEN = {
    400: "The body cannot be parsed.",
    401: "The API key is missing or not accepted.",
    403: "The API key lacks the scope.",
    404: "Unknown, or removed.",
    408: "The body was not received in time.",
    413: "The body is too large.",
    422: "A parameter or field is invalid; `errors` names it.",
    429: "Too many requests; retry after `Retry-After` seconds.",
    500: "A defect of this service.",
    503: "The database does not respond, or nothing is published yet; retry after `Retry-After` seconds.",
}
_HEADERS = {
    401: {"WWW-Authenticate": "How to send the API key."},
    429: {
        "Retry-After": "Seconds to wait.",
        "RateLimit-Policy": "The limit: its name, the number of requests, and the window in seconds.",
        "RateLimit": "The remaining requests, and the seconds until the window resets.",
    },
    503: {"Retry-After": "Seconds to wait."},
}


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of these errors."""
    return {status: _response(status) for status in (*statuses, 500)}


def _response(status: int) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    response: dict[str, Any] = {"description": _WHEN.get(status, HTTPStatus(status).phrase), "content": content}
    if status in _HEADERS:
        response["headers"] = {
            name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS[status].items()
        }
    return response
