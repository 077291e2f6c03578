"""Decoding: the JSON of raw pages to columns, as the contract says. The first of two nets for bad rows.

A page whose rows all keep the contract is decoded in one go. Any other page is decoded row by row, so that each bad row
is set aside on its own, with its position, its text and a reason that quotes none of its values.
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
_MOST_DIGITS = 19
OTHER_FIELDS = "(other fields)"
_MOST_FIELDS = 50


@dataclass(frozen=True)
class RejectedRow:
    """A row, or one play of a session, that was set aside. Positions count from 1.

    `row_id` is the id that the row is about, if that can be told.
    """

    row_position: int
    play_position: int | None
    raw_json: str
    reason: str
    row_id: int | None = None


@dataclass
class DecodedRows:
    """The rows of a run of pages. `frame` has the fields of the contract as sent and `row_position`; `items` is text
    of the form `{1,2,3}`, which is how Postgres writes an array."""

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

    def reject(self, position: int, reason: str, row_id: int | None, play_position: int | None = None) -> RejectedRow:
        """The row at `position` as one that is set aside."""
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

    def with_items(self, rows: pl.DataFrame, plays: pl.DataFrame, touched: pl.Series) -> pl.DataFrame:
        """`rows` with the items of the sessions at the positions `touched` replaced by what `plays` has of them."""
        kept = plays.filter(pl.col("row_position").is_in(touched.implode())).sort("row_position", "play_position")
        texts = kept.group_by("row_position", maintain_order=True).agg(pl.col("track_id").cast(pl.String))
        replaced = (
            touched.to_frame("row_position")
            .join(texts, on="row_position", how="left")
            .select("row_position", kept_items="{" + pl.col("track_id").list.join(",").fill_null("") + "}")
        )
        return (
            rows.join(replaced, on="row_position", how="left", maintain_order="left")
            .with_columns(items=pl.coalesce("kept_items", "items"))
            .drop("kept_items")
        )

    @cached_property
    def _raw(self) -> list[str]:
        return raw_texts(self.bodies)


@dataclass
class _Columns:
    """Rows on their way into columns."""

    positions: list[int] = field(default_factory=list)
    rows: list[Any] = field(default_factory=list)
    rejected: list[RejectedRow] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)
    drifted: int = 0
    erased: int = 0
    plays_rejected: int = 0


def raw_texts(bodies: Sequence[bytes]) -> list[str]:
    """The JSON text of every row of a run of pages, in order."""
    return [raw.decode("utf-8", "backslashreplace") for body in bodies for raw in raw_rows(body)]


def decode_rows(
    endpoint: Endpoint, bodies: Sequence[bytes], offset: int, unknown_fields: frozenset[str]
) -> DecodedRows:
    """Decode a run of pages that begins behind `offset` rows of the list.

    `unknown_fields` were seen before in this batch: pages that have just those are still decoded in one go.
    """
    columns = _Columns()
    position = offset
    for body in bodies:
        position += _decode_page(endpoint, body, position, unknown_fields | columns.unknown.keys(), columns)
    items = [row.items or [] for row in columns.rows] if endpoint == LISTEN_HISTORY else []
    return DecodedRows(
        endpoint=endpoint,
        offset=offset,
        bodies=bodies,
        frame=_frame(endpoint, columns, items),
        items=items,
        rejected=columns.rejected,
        rows_landed=position - offset,
        rows_erased=columns.erased,
        plays_landed=sum(map(len, items)) + columns.plays_rejected,
        unknown_fields=columns.unknown,
        rows_with_unknown_fields=columns.drifted,
    )


def _decode_page(
    endpoint: Endpoint, body: bytes, position: int, unknown_fields: frozenset[str], columns: _Columns
) -> int:
    """Add the rows of one page that begins behind `position`; returns how many it had."""
    declared = frozenset(name for name in unknown_fields if name != OTHER_FIELDS and is_declarable(name))
    for fields in (frozenset[str](), declared) if declared else (frozenset[str](),):
        try:
            rows = page_decoder(endpoint, fields).decode(body).items
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        _count_unknown(rows, fields, columns)
        columns.positions.extend(range(position + 1, position + 1 + len(rows)))
        columns.rows.extend(rows)
        return len(rows)
    raw = raw_rows(body)
    for number, text in enumerate(raw, position + 1):
        _decode_row(endpoint, text, number, columns)
    return len(raw)


def _count_unknown(rows: Iterable[Any], fields: frozenset[str], columns: _Columns) -> None:
    if not fields:
        return
    names = attribute_names(fields)
    for row in rows:
        present = [name for attribute, name in names.items() if getattr(row, attribute) is not msgspec.UNSET]
        add_field_counts(columns.unknown, dict.fromkeys(present, 1))
        columns.drifted += bool(present)


def add_field_counts(counted: Counter[str], more: Mapping[str, int]) -> None:
    """Add to the rows counted by unknown field. From the fiftieth name on, all others are counted together."""
    for name, rows in more.items():
        counted[name if name in counted or len(counted) < _MOST_FIELDS else OTHER_FIELDS] += rows


def _decode_row(endpoint: Endpoint, text: bytes, position: int, columns: _Columns) -> None:
    try:
        row = row_decoder(endpoint).decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        row = _second_look(endpoint, text, position, error, columns)
    if row is not None:
        columns.positions.append(position)
        columns.rows.append(row)


def _second_look(endpoint: Endpoint, text: bytes, position: int, error: Exception, columns: _Columns) -> Any | None:
    """A row that is not quite of the contract: kept without its unknown fields or bad plays, or rejected, or gone."""
    raw = text.decode("utf-8", "backslashreplace")
    try:
        content = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        columns.rejected.append(
            RejectedRow(position, None, raw, "not readable as JSON text", readable_row_id(endpoint, raw))
        )
        return None
    if content == ERASED_ROW:
        columns.erased += 1
        return None
    if not isinstance(content, dict):
        columns.rejected.append(RejectedRow(position, None, raw, f"not an object: {_kind(content)}"))
        return None
    known = {name: value for name, value in content.items() if name in row_type(endpoint).__struct_fields__}
    row_id = readable_id(known.get(ENDPOINTS[endpoint].id_field))
    bad_plays = _bad_plays(known) if endpoint == LISTEN_HISTORY else {}
    if bad_plays:
        known["items"] = [play for number, play in enumerate(known["items"], 1) if number not in bad_plays]
    try:
        row = msgspec.convert(known, row_type(endpoint), strict=True)
    except msgspec.ValidationError as reason:
        columns.rejected.append(RejectedRow(position, None, raw, _in_words(reason), row_id))
        return None
    columns.rejected.extend(RejectedRow(position, number, raw, why, row_id) for number, why in bad_plays.items())
    columns.plays_rejected += len(bad_plays)
    add_field_counts(columns.unknown, dict.fromkeys(sorted(content.keys() - known.keys()), 1))
    columns.drifted += len(content) > len(known)
    return row


def _bad_plays(row: dict[str, Any]) -> dict[int, str]:
    """Positions of the plays of a session that are no track ids, with the reason of each."""
    items = row.get("items")
    if not isinstance(items, list):
        return {}
    bad = {}
    for number, play in enumerate(items, 1):
        try:
            msgspec.convert(play, Id, strict=True)
        except msgspec.ValidationError as reason:
            bad[number] = f"items: {_in_words(reason)}"
    return bad


def _frame(endpoint: Endpoint, columns: _Columns, items: list[list[int]]) -> pl.DataFrame:
    data: dict[str, pl.Series] = {"row_position": pl.Series(columns.positions, dtype=pl.Int64)}
    for column in ENDPOINTS[endpoint].fields:
        if column.kind == "id_list":
            data[column.name] = "{" + pl.Series(_comma_separated(items), dtype=pl.String) + "}"
        else:
            dtype = pl.Int64 if column.kind == "id" else pl.String
            data[column.name] = pl.Series([getattr(row, column.name) for row in columns.rows], dtype=dtype)
    return pl.DataFrame(data)


def _comma_separated(items: list[list[int]]) -> list[str]:
    """The ids of each session as text; encoded all at once, which is many times faster than one by one."""
    return msgspec.json.encode(items).decode()[2:-2].split("],[") if items else []


def readable_id(value: object) -> int | None:
    """The id that a row is about, as far as it can be told, also where it is written as a text or a float."""
    whole = isinstance(value, float) and value.is_integer()
    number = _whole_number(value) if isinstance(value, str) else int(value) if whole else value  # type: ignore[call-overload]
    try:
        return msgspec.convert(number, Id, strict=True)
    except msgspec.ValidationError:
        return None


def _whole_number(text: str) -> int | None:
    """The whole number that a text says, with spaces, a sign, zeros or digits of any script; None if it says none."""
    match = _NUMBER.fullmatch(canonical(text))
    if match is None:
        return None
    number = Decimal(match[0])
    return int(number) if number.adjusted() < _MOST_DIGITS and number == number.to_integral_value() else None


def readable_row_id(endpoint: Endpoint, raw: str) -> int | None:
    """The id that the JSON text of a row is about, as far as it can be told."""
    try:
        row = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return readable_id(row.get(ENDPOINTS[endpoint].id_field)) if isinstance(row, dict) else None


def _kind(value: object) -> str:
    return {type(None): "null", str: "text", list: "a list", bool: "a boolean"}.get(type(value), "a number")


def _in_words(error: msgspec.ValidationError) -> str:
    """`Expected `int`, got `str` - at `$.id`` as `id: expected int, got str`."""
    what, _, where = str(error).replace("`", "").partition(" - at ")
    what = what[:1].lower() + what[1:]
    path = where.removeprefix("$.").removeprefix("$")
    if what.startswith("object missing required field "):
        return f"{what.rpartition(' ')[2]}: missing"
    return f"{path}: {what}" if path else what
