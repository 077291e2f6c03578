"""Schemas of requests and responses, with their descriptions for OpenAPI."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Literal

from annotated_types import Ge, Le
from fastapi import Path
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt
from pydantic.config import JsonDict

from serving.field_errors import MAX_ID, MIN_ID

EXAMPLE_USER, EXAMPLE_TRACK = 5, 1
_INTEGER = re.compile("-?[0-9]+", re.ASCII)
_RFC_3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})", re.IGNORECASE)


def plain_integer(value: object) -> object:
    """Validate an integer: accept digits only: no blanks, underscores or fractions, which Python would accept."""
    if isinstance(value, str) and not _INTEGER.fullmatch(value):
        raise ValueError("must be an integer")
    return value


_Id = Annotated[int, Ge(MIN_ID), Le(MAX_ID), BeforeValidator(plain_integer)]
UserId = Annotated[_Id, Path(json_schema_extra={"format": "int64"}, examples=[EXAMPLE_USER])]
TrackId = Annotated[_Id, Path(json_schema_extra={"format": "int64"}, examples=[EXAMPLE_TRACK])]
MAX_LIMIT = 50
Limit = Annotated[
    int,
    Ge(1),
    Le(MAX_LIMIT),
    BeforeValidator(plain_integer),
    Field(description=f"The maximum number of tracks, from 1 to {MAX_LIMIT}.", examples=[10]),
]


def _integer_of_number(value: object) -> object:
    """Return 5 for 5.0, as JSON Schema calls it an integer; a float of 2**53 or more may be a rounded id."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


_BodyInteger = Annotated[StrictInt, BeforeValidator(_integer_of_number)]
# The bounds precede the validator: after it, Pydantic writes them as `ge` and `le`, which JSON Schema does not have.
BodyId = Annotated[
    StrictInt,
    Ge(MIN_ID),
    Le(MAX_ID),
    BeforeValidator(_integer_of_number),
    Field(json_schema_extra={"format": "int64"}),
]


def _rfc_3339(value: object) -> object:
    """Accept a written date with time and offset, not seconds since 1970, which Pydantic would accept."""
    if (isinstance(value, str) and not _RFC_3339.fullmatch(value)) or isinstance(value, int | float):
        raise ValueError("must be a time like 2026-01-31T08:15:00Z")
    return value


def _in_utc(value: datetime) -> datetime:
    """Convert to UTC: Postgres accepts no offset of 16 hours or more."""
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("must lie between the years 1 and 9999 in UTC") from error


_BodyTime = Annotated[AwareDatetime, BeforeValidator(_rfc_3339), AfterValidator(_in_utc)]


def _with_example(example: JsonDict) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Reason(_Schema):
    """Why a track is recommended. `text` is in English; build your own from the other fields."""

    kind: Literal["played", "popular-in-genre", "popular"] = Field(
        description="The user played a similar track, or the track is popular in their favourite genre or with all."
    )
    track_id: int | None = Field(description="The similar track that the user played.")
    title: str | None
    artist: str | None
    genre: str | None = Field(description="The favourite genre of the user.")
    text: str


class ResponseTrack(_Schema):
    """A track with its rank. Scores are comparable within one response only."""

    rank: int = Field(ge=1)
    track_id: int
    title: str
    artist: str
    score: float


class RecommendedTrack(ResponseTrack):
    """A recommended track. With `explain=true` it has a reason, null if none is known."""

    reason: Reason | None = Field(
        None,
        description="With `explain=true` only. Null if no reason is known, which is frequent with a popularity model.",
    )


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
    recommendations: list[RecommendedTrack]
    next_cursor: str | None = Field(
        description="Send it as `cursor` for the next page. Null on the last page. 410 if its list has changed."
    )

    model_config = _with_example(
        {
            "user_id": EXAMPLE_USER,
            "publication_id": 7,
            "published_at": "2026-11-22T04:12:09.120931+00:00",
            "as_of": "2026-11-22T21:40:13.005112+00:00",
            "fallback": False,
            "recommendations": [
                {"rank": 1, "track_id": EXAMPLE_TRACK, "title": "Blue Hour", "artist": "Mara Lindqvist", "score": 0.93}
            ],
            "next_cursor": "7.user.1.1",
        }
    )


class SessionRequest(_Schema):
    """The tracks that a session without an account has played."""

    tracks: list[BodyId] = Field(
        description="Track ids; a track that comes twice was played twice.", min_length=1, max_length=200
    )
    exclude: list[BodyId] = Field([], description="Track ids to leave out.", max_length=10_000)
    limit: _BodyInteger = Field(
        10, ge=1, le=MAX_LIMIT, description=f"The maximum number of tracks, from 1 to {MAX_LIMIT}."
    )

    model_config = _with_example({"tracks": [EXAMPLE_TRACK, 2, 3], "limit": 10})


class SessionRecommendations(_Published):
    """Recommendations for a session, best first, without the tracks that it has played."""

    known_tracks: int = Field(description="How many of the played tracks the model knows; 0 with a popularity model.")
    fallback: bool = Field(
        description="Whether all tracks are popular tracks, because the model knows none of the played tracks."
    )
    recommendations: list[ResponseTrack]

    model_config = _with_example(
        {
            "publication_id": 7,
            "published_at": "2026-11-22T04:12:09.120931+00:00",
            "known_tracks": 3,
            "fallback": False,
            "recommendations": [
                {"rank": 1, "track_id": 44, "title": "Blue Hour", "artist": "Mara Lindqvist", "score": 0.93}
            ],
        }
    )


class SimilarTracks(_Published):
    """Tracks that the same users play, most similar first. Empty if too few users play the track."""

    track_id: int
    similar: list[ResponseTrack]

    model_config = _with_example(
        {
            "track_id": EXAMPLE_TRACK,
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

    model_config = _with_example(
        {"user_id": EXAMPLE_USER, "track_id": EXAMPLE_TRACK, "useful": True, "publication_id": 1}
    )


class FieldError(BaseModel):
    """One invalid field."""

    field: str
    message: str


FeedbackKind = Literal["useful", "not_useful", "like", "dislike", "skip", "complete", "hide"]


class FeedbackItem(_Schema):
    """A reaction of a user to a track. `hide` is final: the track is never recommended to the user again."""

    user_id: BodyId
    track_id: BodyId
    kind: FeedbackKind
    publication_id: BodyId | None = Field(None, description="The publication that recommended the track.")


class FeedbackBatch(_Schema):
    """Up to 1,000 reactions."""

    feedback: list[FeedbackItem] = Field(min_length=1, max_length=1000)

    model_config = _with_example(
        {
            "feedback": [
                {"user_id": EXAMPLE_USER, "track_id": EXAMPLE_TRACK, "kind": "like"},
                {"user_id": EXAMPLE_USER, "track_id": 2, "kind": "hide"},
            ]
        }
    )


class Impression(_Schema):
    """A recommended track that a client showed to a user."""

    user_id: BodyId
    publication_id: BodyId = Field(description="The publication of the response.")
    track_id: BodyId
    rank: _BodyInteger = Field(ge=1, le=10_000, description="The position at which it was shown, from 1.")
    shown_at: _BodyTime = Field(description="When it was shown; at most about 5 minutes ahead of the API's clock.")


class ImpressionBatch(_Schema):
    """Up to 1,000 impressions."""

    impressions: list[Impression] = Field(min_length=1, max_length=1000)

    model_config = _with_example(
        {
            "impressions": [
                {
                    "user_id": EXAMPLE_USER,
                    "publication_id": 1,
                    "track_id": EXAMPLE_TRACK,
                    "rank": 1,
                    "shown_at": "2026-11-22T09:30:00Z",
                }
            ]
        }
    )


class RejectedItem(_Schema):
    """An item of a batch that was not stored."""

    index: int = Field(description="Its position in the batch, from 0.")
    errors: list[FieldError]


class BatchReport(_Schema):
    """What was stored. A batch that is sent twice is stored once; its reactions get the time of the last request."""

    accepted: int = Field(description="How many items are stored, by this request or an earlier one.")
    rejected: list[RejectedItem] = Field(
        description="Items that are not stored: an id is unknown, or the time is too far in the future."
    )

    model_config = _with_example(
        {"accepted": 1, "rejected": [{"index": 1, "errors": [{"field": "track_id", "message": "is unknown"}]}]}
    )


class PopularTrack(_Schema):
    """A track with the number of users who played it in the period."""

    rank: int
    track_id: int
    title: str
    artist: str
    genre: str
    users: int


class PopularTracks(_Published):
    """Popular tracks, most users first. Periods end where the plays of the publication end."""

    tracks: list[PopularTrack]

    model_config = _with_example(
        {
            "publication_id": 7,
            "published_at": "2026-11-22T04:12:09.120931+00:00",
            "tracks": [
                {
                    "rank": 1,
                    "track_id": 31,
                    "title": "Low Tide",
                    "artist": "The Harbour Lights",
                    "genre": "Rock",
                    "users": 12,
                }
            ],
        }
    )


class NewTrack(_Schema):
    """A track with the time when it was added to the catalogue."""

    track_id: int
    title: str
    artist: str
    genre: str
    added_at: AwareDatetime


class NewTracks(_Schema):
    """New tracks, newest first."""

    tracks: list[NewTrack]

    model_config = _with_example(
        {
            "tracks": [
                {
                    "track_id": 31,
                    "title": "Low Tide",
                    "artist": "The Harbour Lights",
                    "genre": "Rock",
                    "added_at": "2026-11-20T11:02:54.120931+00:00",
                }
            ]
        }
    )


class Play(_Schema):
    """A play of a user."""

    track_id: int
    title: str
    artist: str
    played_at: AwareDatetime = Field(description="When the session of the play began.")


class History(_Schema):
    """The published plays of a user, newest first."""

    user_id: int
    plays: list[Play]
    next_cursor: str | None = Field(description="Send it as `cursor` for older plays; null on the last page.")

    model_config = _with_example(
        {
            "user_id": EXAMPLE_USER,
            "plays": [
                {
                    "track_id": 31,
                    "title": "Low Tide",
                    "artist": "The Harbour Lights",
                    "played_at": "2026-11-21T20:15:00+00:00",
                }
            ],
            "next_cursor": "1763757900000000.1",
        }
    )


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


class ProblemDetails(BaseModel):
    """An error as problem details (RFC 9457)."""

    type: str = Field(description="The type of the problem. The description of the API lists all types.")
    title: str
    status: int
    detail: str
    instance: str = Field(description="This occurrence. The log of the service contains it too.")
    errors: list[FieldError] | None = Field(None, description="The invalid fields, at most 50; with 422 only.")

    model_config = _with_example(
        {
            "type": "urn:moovitamix:problem:unknown-listener",
            "title": "No such user",
            "status": 404,
            "detail": "unknown, or removed",
            "instance": "urn:uuid:6f0f1e1c-52f2-4c0e-9f6f-0d6f6f4f2b7a",
        }
    )
