"""Malformed rows, by kind. Each malformed row is a changed copy of a good row, which stays in the endpoint."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mock_server.day_state import ENDPOINTS, DayState
from mock_server.endpoint_rows import EndpointRows
from mock_server.randomness import ID_SPACE, public_ids
from mock_server.records import FIELDS, Record

Corrupt = Callable[[Record, str], Any]
MISSING = object()


@dataclass(frozen=True)
class BadRowKind:
    """One way a row can be wrong.

    `corrupt` gets a good row and the name of the field to change, and returns the malformed row. The good row is a
    copy of a listed row. The copy has a new identity, except for the fields in `keeps`.
    """

    meaning: str
    corrupt: Corrupt
    field: str = ""
    endpoints: tuple[str, ...] = ENDPOINTS
    keeps: tuple[str, ...] = ()


def _value(meaning: str, field: str, value: Any, *endpoints: str) -> BadRowKind:
    """A kind that puts one value into a field, or removes the field (MISSING)."""

    def corrupt(row: Record, name: str) -> Record:
        if value is MISSING:
            return {key: value for key, value in row.items() if key != name}
        return row | {name: value}

    return BadRowKind(meaning, corrupt, field, endpoints or ENDPOINTS)


def _row(meaning: str, row: Any) -> BadRowKind:
    return BadRowKind(meaning, lambda _row, _field: row)


def _zoned(row: Record, field: str) -> Record:
    """The same time, written with the offset of another zone."""
    zone = dt.timezone(dt.timedelta(hours=2))
    return row | {field: row[field].replace(tzinfo=dt.UTC).astimezone(zone).isoformat()}


def _in_utc(row: Record, field: str) -> Record:
    return row | {field: row[field].isoformat() + "Z"}


def _of_wrong_type(row: Record, field: str) -> Record:
    value = row[field]
    return row | {field: {"value": str(value)} if isinstance(value, list) else [str(value)]}


def _version(hours: int) -> Corrupt:
    """A version of the row with other content, changed this many hours later (earlier if negative)."""

    def corrupt(row: Record, _field: str) -> Record:
        field = next(field for field in ("items", "album", "last_name") if field in row)
        content = row["items"][::-1] if field == "items" else "changed"
        return row | {field: content, "updated_at": row["updated_at"] + dt.timedelta(hours=hours)}

    return corrupt


def _unchanged(row: Record, _field: str) -> Record:
    return row


def _items(change: Callable[[list[Any]], Any]) -> Corrupt:
    return lambda row, field: row | {field: change(row[field])}


_TEXT = "a text"
_IDENTITY = ("id", "email", "user_id", "created_at")
_LISTENS = "listen_history"
KINDS: dict[str, BadRowKind] = {
    "id_null": _value("the id (user_id in listen_history) is null", "id", None),
    "id_missing": _value("the id is missing", "id", MISSING),
    "id_text": _value("the id is a text", "id", "abc"),
    "id_float": _value("the id has a fraction", "id", 12.5),
    "id_negative": _value("the id is below zero", "id", -5),
    "id_huge": _value("the id is too large for an integer column", "id", 10**30),
    "id_boolean": _value("the id is true", "id", True),
    "date_null": _value("a date is null", "created_at", None),
    "date_missing": _value("the date is missing", "created_at", MISSING),
    "date_impossible": _value("a date that does not exist", "created_at", "2026-02-30T12:00:00.000001"),
    "date_empty": _value("a date is an empty text", "created_at", ""),
    "date_zoned": BadRowKind("a date with the offset +02:00; the same time", _zoned, "created_at"),
    "date_utc": BadRowKind("a date with a Z at its end; the same time", _in_utc, "created_at"),
    "date_future": _value("a date far in the future", "updated_at", "2999-12-31T23:59:59.999999"),
    "field_missing": _value("a field is missing", _TEXT, MISSING),
    "field_null": _value("a field is null", _TEXT, None),
    "field_wrong_type": BadRowKind("a field has another type", _of_wrong_type, _TEXT),
    "record_null": _row("the row is null", None),
    "record_text": _row("the row is a text", "not a record"),
    "record_list": _row("the row is a list", [1, 2, 3]),
    "text_nul": _value("a text with a NUL character, which Postgres cannot hold", _TEXT, "a\x00b", "tracks", "users"),
    "text_emoji": _value("a text with emoji; a good row", _TEXT, "caf\u00e9 \U0001f3b5", "tracks", "users"),
    "text_long": _value("a text of 100,000 characters", _TEXT, "x" * 100_000, "tracks", "users"),
    "text_surrogate": _value("a text with half a surrogate pair", _TEXT, "\ud83c", "tracks", "users"),
    "duration_zero": _value("a track of no length", "duration", "00:00", "tracks"),
    "duration_short": _value("a duration without its zeros", "duration", "3:5", "tracks"),
    "duration_overflow": _value("a duration of 99 minutes and 99 seconds", "duration", "99:99", "tracks"),
    "duration_hours": _value("a duration with hours", "duration", "1:02:03", "tracks"),
    "copy_exact": BadRowKind("an exact copy of a listed row", _unchanged, keeps=_IDENTITY),
    "copy_older": BadRowKind("an older version of a listed row", _version(-48), keeps=_IDENTITY),
    "copy_newer": BadRowKind("a newer version of a listed row", _version(1), keeps=_IDENTITY),
    "items_null": _value("a session whose plays are null", "items", None, _LISTENS),
    "items_empty": _value("a session without plays", "items", [], _LISTENS),
    "items_with_null": BadRowKind("a null among the plays", _items(lambda items: [*items, None]), "items", (_LISTENS,)),
    "items_with_text": BadRowKind(
        "a text among the plays", _items(lambda items: [*items, "abc"]), "items", (_LISTENS,)
    ),
    "items_repeated": BadRowKind(
        "a session that holds a track twice; a good row", _items(lambda items: [*items, items[0]]), "items", (_LISTENS,)
    ),
    "items_unknown": BadRowKind(
        "a play of a track that is not listed", _items(lambda items: [*items, ID_SPACE + 7]), "items", (_LISTENS,)
    ),
    "user_unknown": _value("a session of a user who is not listed", "user_id", ID_SPACE + 7, _LISTENS),
    "email_shared": BadRowKind("a user with another user's e-mail; a good row", _unchanged, "", ("users",), ("email",)),
    "gender_new": _value("a gender never seen before", "gender", "Two-Spirit", "users"),
    "genre_new": _value("a favourite genre never seen before", "favorite_genres", "Hyperpop", "users"),
}


def bad_rows(state: DayState, endpoint: str, good: EndpointRows, kinds: dict[str, int]) -> list[Any]:
    """The malformed rows of the requested kinds, in the order of the request.

    "kind:field" changes this field instead of the default one. The nth malformed row is made from the nth good row.
    If there are too few good rows, they are used again from the first.
    """
    requested = [name for name, count in kinds.items() for _ in range(count)]
    sources = good.rows(0, min(len(requested), good.total))
    malformed = []
    for number, name in enumerate(requested if sources else []):
        kind, field = _kind_and_field(name, endpoint)
        source = sources[number % len(sources)]
        copied_fields = {name: source[name] for name in kind.keeps if name in source}
        malformed.append(kind.corrupt(unlisted_row(state, endpoint, source, number) | copied_fields, field))
    return malformed


def check_kinds(endpoint: str | None, kinds: Any) -> str | None:
    """The error message for the requested kinds; None if they are valid."""
    if not isinstance(kinds, dict) or not all(type(count) is int and count >= 0 for count in kinds.values()):
        return 'bad_rows needs an object of kinds and counts, like {"id_null": 2}'
    return next((error for name in kinds if (error := _kind_error(endpoint, name))), None)


def _kind_error(endpoint: str | None, name: str) -> str | None:
    requested, _, field = name.partition(":")
    kind = KINDS.get(requested)
    if kind is None:
        return f"unknown kind of malformed row {requested!r}; GET /_control/kinds lists the kinds"
    endpoints = ENDPOINTS if endpoint is None else (endpoint,)
    if not set(endpoints) <= set(kind.endpoints):
        return f"{requested!r} needs one of these endpoints: {', '.join(kind.endpoints)}"
    if field and not all(field in FIELDS[endpoint] for endpoint in endpoints):
        return f"{name!r}: {', '.join(endpoints)} has no field {field!r}"
    if field and kind.corrupt in (_zoned, _in_utc) and not field.endswith("_at"):
        return f"{requested!r} needs a date field, and {field!r} is none"
    return None


def _kind_and_field(name: str, endpoint: str) -> tuple[BadRowKind, str]:
    requested, _, field = name.partition(":")
    kind = KINDS[requested]
    default_fields = {"id": {_LISTENS: "user_id"}, _TEXT: {"tracks": "name", "users": "first_name", _LISTENS: "items"}}
    return kind, field or default_fields.get(kind.field, {}).get(endpoint, kind.field)


def unlisted_row(state: DayState, endpoint: str, source: Record, number: int) -> Record:
    """A good row like `source` with an identity that no listed row has. Each number gives another row."""
    if endpoint == _LISTENS:
        return source | {"created_at": source["created_at"] - dt.timedelta(microseconds=2 * (number + 1))}
    identity = int(public_ids(ID_SPACE - 1 - number, 1, state.plan.seed, kind=1 + (endpoint == "users"))[0])
    email = {"email": f"newcomer{identity}@example.com"} if endpoint == "users" else {}
    return source | {"id": identity} | email
