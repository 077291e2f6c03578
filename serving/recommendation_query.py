"""The query parameters of recommendations, and the cursor that continues a list."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import orjson
from annotated_types import Ge, Le, MaxLen
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from serving.field_errors import MAX_ID, MIN_ID
from serving.schemas import MAX_LIMIT, Limit, plain_integer

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_EXCLUDED = 10_000
DEFAULT_LIMIT = 10
DEPRECATED_PARAMETERS = frozenset({"n"})
# The publication, the list, the last rank in it, and the number of tracks shown; then the time of a fresh list, or a
# hash of the genre.
_CURSOR = r"^[0-9]{1,18}\.((user|all)\.[0-9]{1,9}\.[0-9]{1,9}|(fresh|genre)\.[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,18})$"


def _split(value: object) -> object:
    """Accept `1,2,3` and repeated parameters."""
    parts = value if isinstance(value, (list, tuple)) else [value]
    return [item for part in parts for item in (part.split(",") if isinstance(part, str) else [part]) if item != ""]


ExcludedId = Annotated[
    int,
    Ge(MIN_ID),
    Le(MAX_ID),
    BeforeValidator(plain_integer),
    Field(json_schema_extra={"format": "int64"}, examples=[31]),
]
# Postgres refuses NUL in texts; no name has other control characters.
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]*$")
]


class LimitQuery(BaseModel):
    """The length of a page. Other parameters are refused."""

    model_config = ConfigDict(extra="forbid")

    limit: Limit = DEFAULT_LIMIT
    n: Annotated[
        Limit | None,
        Field(
            description="The older name of `limit`. If both are sent, `limit` counts.",
            json_schema_extra={"deprecated": True},
        ),
    ] = None

    @property
    def count(self) -> int:
        """The maximum number of tracks; `limit` wins."""
        return self.limit if self.n is None or "limit" in self.model_fields_set else self.n


Period = Literal["day", "week", "month", "all"]


class CatalogueQuery(BaseModel):
    """A page of tracks of one genre and period. Other parameters are refused."""

    model_config = ConfigDict(extra="forbid")

    limit: Limit = DEFAULT_LIMIT
    genre: Annotated[Name | None, Field(description="Only tracks with this genre, in any case.")] = None
    period: Annotated[Period, Field(description="The last 24 hours, 7 days, 30 days, or all time.")] = "month"


class HistoryQuery(BaseModel):
    """A page of plays. Other parameters are refused."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[Limit, Field(description=f"The maximum number of plays, from 1 to {MAX_LIMIT}.")] = DEFAULT_LIMIT
    cursor: Annotated[
        str | None, Field(pattern=r"^[0-9]{1,16}\.[0-9]{1,9}$", description="`next_cursor` of the previous page.")
    ] = None

    def before(self) -> tuple[datetime | None, int | None]:
        """The time of the last play of the previous page, and its position in the session; None on the first page."""
        if self.cursor is None:
            return None, None
        microseconds, _, position = self.cursor.partition(".")
        return EPOCH + timedelta(microseconds=int(microseconds)), int(position)


class RecommendationQuery(LimitQuery):
    """Filters, page and details of recommendations."""

    cursor: Annotated[
        str | None, Field(pattern=_CURSOR, description="`next_cursor` of the previous page, with the same filters.")
    ] = None
    exclude: Annotated[
        Annotated[list[ExcludedId], MaxLen(MAX_EXCLUDED), BeforeValidator(_split)] | None,
        Field(description="Track ids to leave out, separated by commas, such as `31,44`; at most 10,000."),
    ] = None
    genre: Annotated[Name | None, Field(description="Only tracks with this genre, in any case.")] = None
    artist: Annotated[Name | None, Field(description="Only tracks of this artist, in any case.")] = None
    new_only: Annotated[bool, Field(description="Only tracks that the user has not played.")] = False
    explain: Annotated[bool, Field(description="Add to each track the reason why it is recommended.")] = False

    def options(self) -> str | None:
        """The options of `sql/serving/find_recommendations.sql` as JSON text; None without options."""
        options: dict[str, Any] = {}
        if self.exclude:
            options["exclude"] = self.exclude
        if self.genre is not None:
            options["genre"] = self.genre
        if self.artist is not None:
            options["artist"] = self.artist
        if self.new_only:
            options["new_only"] = True
        if self.cursor is not None:
            publication_id, name, rank, shown, *version = self.cursor.split(".")
            options |= {"publication_id": int(publication_id), "list": name, "rank": int(rank), "shown": int(shown)}
            options["version"] = int(version[0]) if version else None
        if options:
            options["filters"] = True
        if self.explain:
            options["explain"] = True
        return orjson.dumps(options).decode() if options else None
