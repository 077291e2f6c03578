"""The shapes that clients see: what is asked, what is answered, and what the OpenAPI page says of both."""

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
    """Digits and nothing else: no blanks, underscores or fractions, which Python would take."""
    if isinstance(value, str) and not _INTEGER.fullmatch(value):
        raise ValueError("must be an integer")
    return value


_Id = Annotated[int, Ge(_LEAST), Le(_MOST), BeforeValidator(_plain_integer)]
UserId = Annotated[_Id, Path(json_schema_extra={"format": "int64"}, examples=[4211])]
TrackId = Annotated[_Id, Path(json_schema_extra={"format": "int64"}, examples=[917])]
_Count = Annotated[int, Ge(1), Le(50), BeforeValidator(_plain_integer)]
Count = Annotated[_Count, Query(description="How many tracks at most.", examples=[10])]
BodyId = Annotated[StrictInt, Field(ge=_LEAST, le=_MOST, json_schema_extra={"format": "int64"})]


def _with_example(example: JsonDict) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ResponseTrack(_Schema):
    """A track at its place in a list. Scores compare within one list only."""

    rank: int = Field(ge=1)
    track_id: int
    title: str
    artist: str
    score: float


class _Published(_Schema):
    publication_id: int = Field(description="The list of everyone that this is from; send it back with feedback.")
    published_at: AwareDatetime = Field(description="When that went live.")


class Recommendations(_Published):
    """What a listener may like, best first. Without a list of their own, what others like who like the same genre."""

    user_id: int
    fallback: bool = Field(description="Whether the listener has no list of their own, and gets what is popular.")
    recommendations: list[ResponseTrack]

    model_config = _with_example(
        {
            "user_id": 4211,
            "publication_id": 7,
            "published_at": "2026-11-22T04:12:09.120931+00:00",
            "fallback": False,
            "recommendations": [
                {"rank": 1, "track_id": 917, "title": "Blue Hour", "artist": "Mara Lindqvist", "score": 0.93}
            ],
        }
    )


class SimilarTracks(_Published):
    """Tracks that the same listeners play, nearest first. Empty when too few play it."""

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
    """Whether a recommended track was useful to a listener."""

    user_id: BodyId
    track_id: BodyId
    useful: StrictBool
    publication_id: BodyId | None = Field(None, description="The list it was recommended in.")

    model_config = _with_example({"user_id": 4211, "track_id": 917, "useful": True, "publication_id": 7})


class StoredFeedback(_Schema):
    """The feedback as it is kept."""

    user_id: int
    track_id: int
    publication_id: int | None
    useful: bool
    created_at: AwareDatetime
    updated_at: AwareDatetime = Field(description="When `useful` last changed.")


class HealthReport(_Schema):
    """`ready`: the database answers, and something is published."""

    live: bool
    ready: bool
    database: bool
    publication_id: int | None
    published_at: datetime | None
    publication_age_seconds: float | None


class LivenessReport(_Schema):
    """The process answers."""

    live: bool


class FieldError(BaseModel):
    """One field that is wrong."""

    field: str
    message: str


class ProblemDetails(BaseModel):
    """An error, as RFC 9457 has it."""

    type: str = Field(description="What kind of problem: the same for all of its kind.")
    title: str
    status: int
    detail: str
    instance: str = Field(description="This one occurrence; the service's log has it too.")
    errors: list[FieldError] | None = Field(None, description="The fields that are wrong, with 422 only.")

    model_config = _with_example(
        {
            "type": "urn:moovitamix:problem:unknown-listener",
            "title": "No such listener",
            "status": 404,
            "detail": "unknown, or removed",
            "instance": "urn:uuid:6f0f1e1c-52f2-4c0e-9f6f-0d6f6f4f2b7a",
        }
    )


_WHEN = {
    400: "The body cannot be read at all.",
    401: "No API key, or one that is not accepted.",
    403: "The API key lacks the scope.",
    404: "Unknown, or removed.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    422: "A parameter or field is wrong; `errors` says which.",
    429: "Too many requests; `Retry-After` says when to come again.",
    500: "A defect of this service.",
    503: "The database does not answer, or nothing is published yet; `Retry-After` says when to come again.",
}
_HEADERS = {
    401: {"WWW-Authenticate": "How to send a key."},
    429: {
        "Retry-After": "Seconds to wait.",
        "RateLimit-Policy": "The limit: its name, how many, in how many seconds.",
        "RateLimit": "How many are left, and the seconds until there are more.",
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
