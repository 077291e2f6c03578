"""The API's contract: the envelope of a page, the fields of a row, and how strictly each is read.

Rows are decoded strictly: an id is an integer, never text, a float or a boolean. What does not fit is not guessed at.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from core.columns import KEYS, LISTEN_HISTORY, USERS, Endpoint
from core.errors import TransientSourceError

Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Track(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A row of /tracks."""

    id: Id
    name: str
    artist: str
    songwriters: str
    duration: str
    genres: str
    album: str
    created_at: str
    updated_at: str


class User(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A row of /users."""

    id: Id
    first_name: str
    last_name: str
    email: str
    gender: str
    favorite_genres: str
    created_at: str
    updated_at: str


class Session(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A row of /listen_history. The contract lets `items` be null: a session without plays."""

    user_id: Id
    items: list[Id] | None
    created_at: str
    updated_at: str


# What stands in a page in place of the row of a listener who was erased.
ERASED_ROW = {"erased": True}
# Endpoints with rows about a person.
PERSONAL: tuple[Endpoint, ...] = (USERS, LISTEN_HISTORY)
ROWS: dict[Endpoint, type[msgspec.Struct]] = {"tracks": Track, "users": User, "listen_history": Session}


class Envelope(msgspec.Struct):
    """A page whose rows are not looked at."""

    items: list[msgspec.Raw]
    total: int
    size: int | None = None


class LenientEnvelope(msgspec.Struct):
    """A page read with Python's own, more forgiving, JSON."""

    items: list[Any]
    total: int
    size: int | None = None


@cache
def row_type(endpoint: Endpoint, unknown_fields: frozenset[str] = frozenset()) -> type[msgspec.Struct]:
    """The row of an endpoint, with more fields that are known to come and are not read."""
    if not unknown_fields:
        return ROWS[endpoint]
    names = attribute_names(unknown_fields)
    extra = [(attribute, Any, msgspec.UNSET) for attribute in names]
    return msgspec.defstruct("Row", extra, bases=(ROWS[endpoint],), kw_only=True, gc=False, rename=names)


def is_declarable(name: str) -> bool:
    """Whether a field of this name can be part of a row's type; the others are found row by row."""
    return name.isprintable() and not {'"', "\\"} & set(name)


def attribute_names(unknown_fields: frozenset[str]) -> dict[str, str]:
    """Under which attribute of a row each unknown field is found: a field's name may be any text at all."""
    return {f"unknown_{number}": name for number, name in enumerate(sorted(unknown_fields))}


@cache
def row_decoder(endpoint: Endpoint, unknown_fields: frozenset[str] = frozenset()) -> msgspec.json.Decoder[Any]:
    """Decodes one row, strictly."""
    return msgspec.json.Decoder(row_type(endpoint, unknown_fields))


@cache
def page_decoder(endpoint: Endpoint, unknown_fields: frozenset[str] = frozenset()) -> msgspec.json.Decoder[Any]:
    """Decodes a page all of whose rows keep the contract; anything else raises."""
    rows = list[row_type(endpoint, unknown_fields)]  # type: ignore[misc,valid-type]
    return msgspec.json.Decoder(msgspec.defstruct("Page", [("items", rows)]))


class _TrackOrUserKey(msgspec.Struct, gc=False):
    id: int


class _SessionKey(msgspec.Struct, gc=False):
    user_id: int
    created_at: str


_Key = TypeVar("_Key", _TrackOrUserKey, _SessionKey)


class _KeyedEnvelope(msgspec.Struct, Generic[_Key]):
    items: list[_Key]
    total: int
    size: int | None = None


_KEY_DECODERS: dict[Endpoint, msgspec.json.Decoder[Any]] = {
    "tracks": msgspec.json.Decoder(_KeyedEnvelope[_TrackOrUserKey]),
    "users": msgspec.json.Decoder(_KeyedEnvelope[_TrackOrUserKey]),
    "listen_history": msgspec.json.Decoder(_KeyedEnvelope[_SessionKey]),
}


def keyed_envelope(endpoint: Endpoint, body: bytes) -> tuple[int, int | None, tuple[int | None, ...]]:
    """Total and size that a page states, and one number per row: equal for equal keys, None without a key.

    Raises TransientSourceError when the body is not a page; it may be whole the next time.
    """
    try:
        envelope = _KEY_DECODERS[endpoint].decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        loose = lenient_envelope(body)
        return loose.total, loose.size, tuple(_loose_key(row, KEYS[endpoint]) for row in loose.items)
    if endpoint == LISTEN_HISTORY:
        keys = tuple([hash((row.user_id, row.created_at)) for row in envelope.items])
    else:
        keys = tuple([hash((row.id,)) for row in envelope.items])
    return envelope.total, envelope.size, keys


def lenient_envelope(body: bytes) -> LenientEnvelope:
    """A page whose rows may be anything that Python's JSON can read. Raises TransientSourceError."""
    try:
        content = json.loads(body, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        kind = "HTML" if body.lstrip()[:1] == b"<" else "not whole JSON"
        raise TransientSourceError(f"answered 200 with a body that is {kind} ({len(body)} bytes)") from error
    try:
        envelope = msgspec.convert(content, LenientEnvelope)
    except msgspec.ValidationError as error:
        raise TransientSourceError(f"answered 200 without the contract's envelope: {error}") from error
    if envelope.total < 0:
        raise TransientSourceError(f"answered 200 with a total of {envelope.total}")
    return envelope


def raw_rows(body: bytes) -> list[bytes]:
    """The JSON text of each row of a page that was read before."""
    try:
        return [bytes(row) for row in msgspec.json.decode(body, type=Envelope).items]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return [json.dumps(row).encode() for row in lenient_envelope(body).items]


def _loose_key(row: object, names: tuple[str, ...]) -> int | None:
    key = tuple(row.get(name) for name in names) if isinstance(row, dict) else (None,)
    return None if None in key else hash(tuple(part if isinstance(part, int | str) else str(part) for part in key))


def _integer(digits: str) -> int | float:
    """An integer, or infinity in place of one that is absurdly long: no id either way."""
    return int(digits) if len(digits) < 1_000 else float("inf")
