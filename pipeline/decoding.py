"""Decode the JSON of raw pages to columns. Rows without the documented format are rejected.

A page of valid rows is decoded at once. Any other page is decoded row by row, so that each invalid row is rejected on
its own, with its position, its text, and a reason without values. `pipeline.transformation` checks the values.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import polars as pl

from core.canonical import canonical
from core.endpoints import ENDPOINTS, LISTEN_HISTORY, Endpoint
from pipeline.page_format import (
    ERASED_ROW,
    Id,
    attribute_names,
    is_declarable,
    page_decoder,
    raw_rows,
    row_decoder,
    row_type,
)

_NUMBER = re.compile(r"\+?[0-9]{1,40}(?:\.[0-9]{0,40})?(?:e[+-]?[0-9]{1,2})?")
_MAX_DIGITS = 19
OTHER_FIELDS = "(other fields)"
_MAX_FIELDS = 50


@dataclass(frozen=True)
class RejectedRow:
    """A rejected row, or a rejected play of a session. Positions count from 1.

    `row_id` is the id in the key field, or None if it is not readable.
    """

    row_position: int
    play_position: int | None
    raw_json: str
    reason: str
    row_id: int | None = None


@dataclass
class DecodedRows:
    """The decoded rows of consecutive pages. `frame` has the documented fields as sent, and `row_position`. Its column
    `items` is text such as `{1,2,3}`, the array format of Postgres."""

    endpoint: Endpoint
    offset: int
    bodies: Sequence[bytes]
    frame: pl.DataFrame
    items: list[list[int]]
    rejected: list[RejectedRow]
    rows_landed: int
    rows_erased: int
    plays_landed: int
    unknown_fields: Counter[str]
    rows_with_unknown_fields: int
    # The JSON text of each row; None if it is read from the pages.
    texts: list[str] | None = None
    # The number of rows of each page; empty if the rows came one by one.
    page_rows: Sequence[int] = ()

    def reject(self, position: int, reason: str, row_id: int | None, play_position: int | None = None) -> RejectedRow:
        """The row at `position` as a rejected row, or one of its plays."""
        return RejectedRow(position, play_position, self._raw[position - self.offset - 1], reason, row_id)

    @cached_property
    def tracks(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """The track of every play, session by session."""
        return np.fromiter(itertools.chain.from_iterable(self.items), dtype=np.int64)

    def plays(self) -> pl.DataFrame:
        """One row per play: row_position, play_position (from 1), track_id."""
        lengths = np.fromiter(map(len, self.items), dtype=np.int64, count=len(self.items))
        rows = np.repeat(self.frame["row_position"].to_numpy(), lengths)
        return pl.DataFrame({"row_position": rows, "track_id": self.tracks}).with_columns(
            play_position=pl.int_range(1, pl.len() + 1).over("row_position").cast(pl.Int32)
        )

    def with_items(self, rows: pl.DataFrame, plays: pl.DataFrame, positions: pl.Series) -> pl.DataFrame:
        """`rows` with the items of the sessions at `positions` replaced by their remaining `plays`."""
        remaining = plays.filter(pl.col("row_position").is_in(positions.implode())).sort(
            "row_position", "play_position"
        )
        tracks = remaining.group_by("row_position", maintain_order=True).agg(pl.col("track_id").cast(pl.String))
        new_items = (
            positions.to_frame("row_position")
            .join(tracks, on="row_position", how="left")
            .select("row_position", new_items="{" + pl.col("track_id").list.join(",").fill_null("") + "}")
        )
        return (
            rows.join(new_items, on="row_position", how="left", maintain_order="left")
            .with_columns(items=pl.coalesce("new_items", "items"))
            .drop("new_items")
        )

    @cached_property
    def _raw(self) -> list[str]:
        return raw_texts(self.bodies) if self.texts is None else self.texts


@dataclass
class _DecodingResult:
    """The decoded and rejected rows so far, and their counts."""

    positions: list[int] = field(default_factory=list)
    rows: list[Any] = field(default_factory=list)
    rejected: list[RejectedRow] = field(default_factory=list)
    unknown_fields: Counter[str] = field(default_factory=Counter)
    rows_with_unknown_fields: int = 0
    erased: int = 0
    plays_rejected: int = 0


def raw_texts(bodies: Sequence[bytes]) -> list[str]:
    """The JSON text of every row of consecutive pages, in order."""
    return [raw.decode("utf-8", "backslashreplace") for body in bodies for raw in raw_rows(body)]


def decode_rows(
    endpoint: Endpoint, bodies: Sequence[bytes], offset: int, unknown_fields: frozenset[str]
) -> DecodedRows:
    """Decode consecutive pages. `offset` is the number of rows of the snapshot before them.

    `unknown_fields` occurred earlier in the batch. Pages with no other unknown fields are decoded at once.
    """
    result = _DecodingResult()
    position, page_rows = offset, list[int]()
    for body in bodies:
        rows = _decode_page(endpoint, body, position, unknown_fields | result.unknown_fields.keys(), result)
        position += rows
        page_rows.append(rows)
    return _decoded_rows(endpoint, result, offset, position - offset, bodies, page_rows=page_rows)


def _decode_page(
    endpoint: Endpoint, body: bytes, position: int, unknown_fields: frozenset[str], result: _DecodingResult
) -> int:
    """Add the rows of the page after row `position` to `result`. Returns their number."""
    declared = frozenset(name for name in unknown_fields if name != OTHER_FIELDS and is_declarable(name))
    for fields in (frozenset[str](), declared) if declared else (frozenset[str](),):
        try:
            rows = page_decoder(endpoint, fields).decode(body).items
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        _count_unknown_fields(rows, fields, result)
        result.positions.extend(range(position + 1, position + 1 + len(rows)))
        result.rows.extend(rows)
        return len(rows)
    texts = raw_rows(body)
    for row_position, text in enumerate(texts, position + 1):
        _decode_row(endpoint, text, row_position, result)
    return len(texts)


def _count_unknown_fields(rows: Iterable[Any], fields: frozenset[str], result: _DecodingResult) -> None:
    if not fields:
        return
    names = attribute_names(fields)
    for row in rows:
        present = [name for attribute, name in names.items() if getattr(row, attribute) is not msgspec.UNSET]
        add_field_counts(result.unknown_fields, dict.fromkeys(present, 1))
        result.rows_with_unknown_fields += bool(present)


def add_field_counts(counts: Counter[str], new_counts: Mapping[str, int]) -> None:
    """Add numbers of rows by unknown field. After 50 names, further names are counted together."""
    for name, rows in new_counts.items():
        counts[name if name in counts or len(counts) < _MAX_FIELDS else OTHER_FIELDS] += rows


def _decode_row(endpoint: Endpoint, text: bytes, position: int, result: _DecodingResult) -> None:
    try:
        row = row_decoder(endpoint).decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        row = _decode_leniently(endpoint, text, position, result)
    if row is not None:
        result.positions.append(position)
        result.rows.append(row)


def _decode_leniently(endpoint: Endpoint, text: bytes, position: int, result: _DecodingResult) -> Any | None:
    """Decode a row without its unknown fields and invalid plays. Returns None if the row is rejected or erased."""
    raw = text.decode("utf-8", "backslashreplace")
    try:
        content = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        result.rejected.append(
            RejectedRow(position, None, raw, "not readable as JSON text", readable_row_id(endpoint, raw))
        )
        return None
    if content == ERASED_ROW:
        result.erased += 1
        return None
    if not isinstance(content, dict):
        result.rejected.append(RejectedRow(position, None, raw, f"not an object: {_json_type(content)}"))
        return None
    documented = {name: value for name, value in content.items() if name in row_type(endpoint).__struct_fields__}
    row_id = readable_id(documented.get(ENDPOINTS[endpoint].id_field))
    invalid_plays = _invalid_plays(documented) if endpoint == LISTEN_HISTORY else {}
    if invalid_plays:
        documented["items"] = [
            play for play_position, play in enumerate(documented["items"], 1) if play_position not in invalid_plays
        ]
    try:
        row = msgspec.convert(documented, row_type(endpoint), strict=True)
    except msgspec.ValidationError as error:
        result.rejected.append(RejectedRow(position, None, raw, _reason(error), row_id))
        return None
    result.rejected.extend(
        RejectedRow(position, play_position, raw, reason, row_id) for play_position, reason in invalid_plays.items()
    )
    result.plays_rejected += len(invalid_plays)
    add_field_counts(result.unknown_fields, dict.fromkeys(sorted(content.keys() - documented.keys()), 1))
    result.rows_with_unknown_fields += len(content) > len(documented)
    return row


def _invalid_plays(row: dict[str, Any]) -> dict[int, str]:
    """The plays of a session that are not track ids: a reason for each position."""
    items = row.get("items")
    if not isinstance(items, list):
        return {}
    reasons = {}
    for play_position, play in enumerate(items, 1):
        try:
            msgspec.convert(play, Id, strict=True)
        except msgspec.ValidationError as error:
            reasons[play_position] = f"items: {_reason(error)}"
    return reasons


def _frame(endpoint: Endpoint, result: _DecodingResult, items: list[list[int]]) -> pl.DataFrame:
    data: dict[str, pl.Series] = {"row_position": pl.Series(result.positions, dtype=pl.Int64)}
    for column in ENDPOINTS[endpoint].fields:
        if column.kind == "id_list":
            data[column.name] = "{" + pl.Series(_comma_separated(items), dtype=pl.String) + "}"
        else:
            dtype = pl.Int64 if column.kind == "id" else pl.String
            data[column.name] = pl.Series([getattr(row, column.name) for row in result.rows], dtype=dtype)
    return pl.DataFrame(data)


def _comma_separated(items: list[list[int]]) -> list[str]:
    """The ids of each session as text. Encoding all sessions at once is many times faster than one by one."""
    return msgspec.json.encode(items).decode()[2:-2].split("],[") if items else []


def readable_id(value: object) -> int | None:
    """The id in a value that may be an integer, a float or a text, or None if it is not readable."""
    is_whole = isinstance(value, float) and value.is_integer()
    number = _whole_number(value) if isinstance(value, str) else int(value) if is_whole else value  # type: ignore[call-overload]
    try:
        return msgspec.convert(number, Id, strict=True)
    except msgspec.ValidationError:
        return None


def _whole_number(text: str) -> int | None:
    """The whole number in a text, which may have spaces, a sign, zeros and digits of any script. None without one."""
    match = _NUMBER.fullmatch(canonical(text))
    if match is None:
        return None
    number = Decimal(match[0])
    return int(number) if number.adjusted() < _MAX_DIGITS and number == number.to_integral_value() else None


def readable_row_id(endpoint: Endpoint, raw: str) -> int | None:
    """The id in the key field of a row, which is JSON text, or None if it is not readable."""
    try:
        row = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return readable_id(row.get(ENDPOINTS[endpoint].id_field)) if isinstance(row, dict) else None


def _json_type(value: object) -> str:
    return {type(None): "null", str: "text", list: "a list", bool: "a boolean"}.get(type(value), "a number")


def _reason(error: msgspec.ValidationError) -> str:
    """`Expected `int`, got `str` - at `$.id`` becomes `id: expected int, got str`."""
    problem, _, location = str(error).replace("`", "").partition(" - at ")
    problem = problem[:1].lower() + problem[1:]
    path = location.removeprefix("$.").removeprefix("$")
    if problem.startswith("object missing required field "):
        return f"{problem.rpartition(' ')[2]}: missing"
    return f"{path}: {problem}" if path else problem


def _decoded_rows(
    endpoint: Endpoint,
    result: _DecodingResult,
    offset: int,
    rows: int,
    bodies: Sequence[bytes],
    texts: list[str] | None = None,
    page_rows: Sequence[int] = (),
) -> DecodedRows:
    items = [row.items or [] for row in result.rows] if endpoint == LISTEN_HISTORY else []
    return DecodedRows(
        endpoint=endpoint,
        offset=offset,
        bodies=bodies,
        texts=texts,
        page_rows=page_rows,
        frame=_frame(endpoint, result, items),
        items=items,
        rejected=result.rejected,
        rows_landed=rows,
        rows_erased=result.erased,
        plays_landed=sum(map(len, items)) + result.plays_rejected,
        unknown_fields=result.unknown_fields,
        rows_with_unknown_fields=result.rows_with_unknown_fields,
    )


def decode_texts(endpoint: Endpoint, texts: Sequence[bytes]) -> DecodedRows:
    """Decode rows that come one by one, each as JSON text. Positions count from 1 in the order of `texts`."""
    result = _DecodingResult()
    for position, text in enumerate(texts, 1):
        _decode_row(endpoint, text, position, result)
    decoded = [text.decode("utf-8", "backslashreplace") for text in texts]
    return _decoded_rows(endpoint, result, 0, len(texts), (), decoded)
