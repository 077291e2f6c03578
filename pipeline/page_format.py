"""The format of a page: its envelope, and rows as structs generated from the specification of the endpoint.

Rows are decoded strictly: an id is an integer, not a text, a float or a boolean.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Annotated, Any

import msgspec
import xxhash

from core.endpoints import ENDPOINTS, Endpoint, EndpointSpecification, Kind
from core.errors import TransientSourceError

Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
# The placeholder of an erased row.
ERASED_ROW = {"erased": True}

_encode = msgspec.json.Encoder().encode

# A session without plays may have null items.
_JSON_TYPES: dict[Kind, Any] = {"id": Id, "id_list": list[Id] | None, "text": str, "duration": str, "time": str}


class Envelope(msgspec.Struct):
    """A page with rows that are not decoded."""

    items: list[msgspec.Raw]
    total: int
    size: int | None = None


class LenientEnvelope(msgspec.Struct):
    """A page decoded with Python's JSON module, which accepts more texts than msgspec."""

    items: list[Any]
    total: int
    size: int | None = None


def row_type(endpoint: Endpoint, unknown_fields: frozenset[str] = frozenset()) -> type[msgspec.Struct]:
    """The struct of a row, with `unknown_fields` as optional attributes."""
    return _row_type(ENDPOINTS[endpoint], unknown_fields)


def row_decoder(endpoint: Endpoint, unknown_fields: frozenset[str] = frozenset()) -> msgspec.json.Decoder[Any]:
    """Decodes one row, strictly."""
    return _row_decoder(ENDPOINTS[endpoint], unknown_fields)


def page_decoder(endpoint: Endpoint, unknown_fields: frozenset[str] = frozenset()) -> msgspec.json.Decoder[Any]:
    """Decodes a page if all its rows have the documented format; raises otherwise."""
    return _page_decoder(ENDPOINTS[endpoint], unknown_fields)


@cache
def _row_type(specification: EndpointSpecification, unknown_fields: frozenset[str]) -> type[msgspec.Struct]:
    if not unknown_fields:
        fields = [(field.name, _JSON_TYPES[field.kind]) for field in specification.fields]
        return msgspec.defstruct("Row", fields, forbid_unknown_fields=True, gc=False)
    names = attribute_names(unknown_fields)
    extra = [(attribute, Any, msgspec.UNSET) for attribute in names]
    documented = _row_type(specification, frozenset())
    return msgspec.defstruct("Row", extra, bases=(documented,), kw_only=True, gc=False, rename=names)


@cache
def _row_decoder(specification: EndpointSpecification, unknown_fields: frozenset[str]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(_row_type(specification, unknown_fields))


@cache
def _page_decoder(specification: EndpointSpecification, unknown_fields: frozenset[str]) -> msgspec.json.Decoder[Any]:
    rows = list[_row_type(specification, unknown_fields)]  # type: ignore[misc,valid-type]
    return msgspec.json.Decoder(msgspec.defstruct("Page", [("items", rows)]))


@cache
def _key_decoder(specification: EndpointSpecification) -> msgspec.json.Decoder[Any]:
    """Decodes the envelope, and of each row only its key. Ids may be any integer here."""
    types = [(name, int if specification.field(name).kind == "id" else str) for name in specification.key]
    key = msgspec.defstruct("Key", types, gc=False)
    fields: list[Any] = [("items", list[key]), ("total", int), ("size", int | None, None)]  # type: ignore[valid-type]
    return msgspec.json.Decoder(msgspec.defstruct("KeyedEnvelope", fields))


@cache
def id_decoder(id_field: str) -> msgspec.json.Decoder[Any]:
    """Decodes the rows of a page to structs whose only attribute is the id in `id_field`."""
    row = msgspec.defstruct("RowId", [(id_field, Id)], gc=False)
    return msgspec.json.Decoder(msgspec.defstruct("RowIds", [("items", list[row])]))  # type: ignore[valid-type]


def is_declarable(name: str) -> bool:
    """Whether a struct can have a field of this name. Other unknown fields are counted row by row."""
    return name.isprintable() and not {'"', "\\"} & set(name)


def attribute_names(unknown_fields: frozenset[str]) -> dict[str, str]:
    """Unknown fields by the attribute that holds them: the name of a field may be any text."""
    return {f"unknown_{number}": name for number, name in enumerate(sorted(unknown_fields))}


def keyed_envelope(endpoint: Endpoint, body: bytes) -> tuple[int, int | None, tuple[int | None, ...]]:
    """Total and size of a page, and one number per row: equal for equal keys in all processes, None without a key.

    Raises TransientSourceError if the body is not a page: the next response may be a page.
    """
    specification = ENDPOINTS[endpoint]
    try:
        envelope = _key_decoder(specification).decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        lenient = lenient_envelope(body)
        return lenient.total, lenient.size, tuple(_lenient_key(row, specification.key) for row in lenient.items)
    return envelope.total, envelope.size, tuple([_number(msgspec.structs.astuple(row)) for row in envelope.items])


def lenient_envelope(body: bytes) -> LenientEnvelope:
    """A page with any rows that Python's JSON module accepts. Raises TransientSourceError."""
    try:
        content = json.loads(body, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        kind = "HTML" if body.lstrip()[:1] == b"<" else "not whole JSON"
        raise TransientSourceError(f"answered 200 with a body that is {kind} ({len(body)} bytes)") from error
    try:
        envelope = msgspec.convert(content, LenientEnvelope)
    except msgspec.ValidationError as error:
        raise TransientSourceError(f"answered 200 without the documented envelope: {error}") from error
    if envelope.total < 0:
        raise TransientSourceError(f"answered 200 with a total of {envelope.total}")
    return envelope


def raw_rows(body: bytes) -> list[bytes]:
    """The JSON text of each row of a valid page."""
    try:
        return [bytes(row) for row in msgspec.json.decode(body, type=Envelope).items]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return [json.dumps(row).encode() for row in lenient_envelope(body).items]


def _lenient_key(row: object, names: tuple[str, ...]) -> int | None:
    key = tuple(row.get(name) for name in names) if isinstance(row, dict) else (None,)
    return None if None in key else _number(tuple(part if isinstance(part, int | str) else str(part) for part in key))


def _number(key: tuple[object, ...]) -> int:
    """A number of 64 bits that is the same in every process. The hash of a text is not."""
    try:
        text = _encode(key)
    except UnicodeEncodeError:  # half of a surrogate pair
        text = repr(key).encode(errors="surrogatepass")
    return xxhash.xxh3_64_intdigest(text) - 2**63


def _integer(digits: str) -> int | float:
    """The integer, or infinity if it has too many digits, which is no valid id either."""
    return int(digits) if len(digits) < 1_000 else float("inf")
