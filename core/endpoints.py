"""The endpoints of the API. Each field is declared here only.

The row struct, the transformation, the row hash, the staging table, and the insert and update statements are derived
from the specification. A new field needs one line here and a migration that adds its column. A new endpoint needs its
name in `Endpoint`, a specification, a migration, and a suite in `expectations/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Endpoint = Literal["tracks", "users", "listen_history"]
# Tables with an expectation suite: the endpoints, the recommendations, and the tables of the stream.
AuditedTable = Literal[
    "tracks", "users", "listen_history", "recommendations", "streamed_sessions", "fresh_recommendations"
]

TRACKS: Endpoint = "tracks"
USERS: Endpoint = "users"
LISTEN_HISTORY: Endpoint = "listen_history"
RECOMMENDATIONS: AuditedTable = "recommendations"
STREAMED_SESSIONS: AuditedTable = "streamed_sessions"
FRESH_RECOMMENDATIONS: AuditedTable = "fresh_recommendations"
# The keys of the audited tables that are not endpoints.
_KEYS: dict[AuditedTable, tuple[str, ...]] = {
    RECOMMENDATIONS: ("user_id", "rank"),
    STREAMED_SESSIONS: ("user_id", "created_at"),
    FRESH_RECOMMENDATIONS: ("user_id",),
}

# id: an integer. id_list: a list of integers, or null. duration: a text MM:SS, stored as text and in seconds.
# time: an ISO 8601 text, stored as timestamptz.
Kind = Literal["id", "id_list", "text", "duration", "time"]


@dataclass(frozen=True)
class Field:
    """One field of a row, stored in the column of the same name.

    `references` is the endpoint whose ids the field holds. `personal` is true if the field identifies a person.
    """

    name: str
    kind: Kind
    references: Endpoint | None = None
    personal: bool = False


@dataclass(frozen=True)
class EndpointSpecification:
    """The fields of an endpoint, in the order of the staging table and of the row hash.

    Every endpoint has the fields created_at and updated_at. The first field of a key is an id; if the endpoint is
    personal, it is the id of the user.
    """

    fields: tuple[Field, ...]
    key: tuple[str, ...] = ("id",)

    @property
    def id_field(self) -> str:
        """The first field of the key."""
        return self.key[0]

    def field(self, name: str) -> Field:
        """The field with this name. Raises KeyError."""
        return {field.name: field for field in self.fields}[name]

    @property
    def texts(self) -> tuple[str, ...]:
        """Names of the fields whose text is stored unchanged."""
        return tuple(field.name for field in self.fields if field.kind in ("text", "duration"))

    @property
    def times(self) -> tuple[str, ...]:
        """Names of the fields that are stored as timestamptz."""
        return tuple(field.name for field in self.fields if field.kind == "time")

    @property
    def content(self) -> tuple[str, ...]:
        """Names of the fields outside the key, in the order of the row hash."""
        return tuple(field.name for field in self.fields if field.name not in self.key)

    @property
    def is_numbered(self) -> bool:
        """Whether the warehouse generates row ids, because the source sends none."""
        return self.key != ("id",)

    @property
    def depends_on(self) -> tuple[Endpoint, ...]:
        """Endpoints whose batches must be published before a batch of this endpoint, in the order of `ENDPOINTS`."""
        referenced = {field.references for field in self.fields}
        return tuple(endpoint for endpoint in ENDPOINTS if endpoint in referenced)

    @property
    def is_personal(self) -> bool:
        """Whether the rows of the endpoint are about a person."""
        return any(field.personal for field in self.fields)


_TIMES = (Field("created_at", "time"), Field("updated_at", "time"))

# A run publishes them in this order. Each endpoint comes after the endpoints that it references.
ENDPOINTS: dict[Endpoint, EndpointSpecification] = {
    TRACKS: EndpointSpecification(
        fields=(
            Field("id", "id"),
            Field("name", "text"),
            Field("artist", "text"),
            Field("songwriters", "text"),
            Field("duration", "duration"),
            Field("genres", "text"),
            Field("album", "text"),
            *_TIMES,
        ),
    ),
    USERS: EndpointSpecification(
        fields=(
            Field("id", "id", personal=True),
            Field("first_name", "text", personal=True),
            Field("last_name", "text", personal=True),
            Field("email", "text", personal=True),
            Field("gender", "text"),
            Field("favorite_genres", "text"),
            *_TIMES,
        ),
    ),
    LISTEN_HISTORY: EndpointSpecification(
        fields=(
            Field("user_id", "id", references=USERS, personal=True),
            *_TIMES,
            Field("items", "id_list", references=TRACKS),
        ),
        key=("user_id", "created_at"),
    ),
}


def audited_key(table: AuditedTable) -> tuple[str, ...]:
    """The columns that identify a row of an audited table."""
    return ENDPOINTS[table].key if table in ENDPOINTS else _KEYS[table]


def is_personal(table: AuditedTable) -> bool:
    """Whether the rows of an audited table are about a person."""
    return ENDPOINTS[table].is_personal if table in ENDPOINTS else "user_id" in _KEYS[table]


def is_of_stream(table: AuditedTable) -> bool:
    """Whether the table is of the stream. Its rows are used before the audit, so a failed audit blocks nothing."""
    return table in (STREAMED_SESSIONS, FRESH_RECOMMENDATIONS)
