"""Row filter: removes the rows of excluded users from a page before other code sees the page.

Extraction and transformation receive the filter as a parameter. A placeholder replaces each removed row, so that the
page keeps its number of rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Protocol

import msgspec

from core.endpoints import ENDPOINTS, Endpoint
from core.errors import TransientSourceError
from pipeline.decoding import readable_row_id
from pipeline.page_format import ERASED_ROW, id_decoder, raw_rows

PLACEHOLDER = json.dumps(ERASED_ROW)
_ENVELOPE_FIELDS = ("total", "page", "size", "pages")


class RowFilter(Protocol):
    """Decides which rows are removed: those of certain users."""

    def matching_ids(self, user_ids: Iterable[int]) -> set[int]:
        """The ids among `user_ids` whose rows are removed."""

    def matches_row_without_id(self, endpoint: Endpoint, raw: str) -> bool:
        """Whether a row without a readable id is removed. `raw` is its JSON text."""


def matches_row(row_filter: RowFilter, endpoint: Endpoint, raw: str) -> bool:
    """Whether the filter removes the row with the JSON text `raw`."""
    row_id = readable_row_id(endpoint, raw)
    if row_id is None:
        return row_filter.matches_row_without_id(endpoint, raw)
    return bool(row_filter.matching_ids([row_id]))


def remove_rows(endpoint: Endpoint, body: bytes, row_filter: RowFilter) -> tuple[bytes, int]:
    """The page without the rows that the filter matches, and the number of removed rows.

    A body that is not a page, and a page without such rows, are returned unchanged.
    """
    ids = readable_ids(endpoint, body)
    if ids is not None and not row_filter.matching_ids(ids):
        return body, 0
    try:
        rows = [row.decode("utf-8", "backslashreplace") for row in raw_rows(body)]
    except TransientSourceError:
        return body, 0
    removed = _matching_positions(endpoint, rows, row_filter)
    if not removed:
        return body, 0
    remaining = [PLACEHOLDER if position in removed else row for position, row in enumerate(rows)]
    return _page(body, remaining), len(removed)


def readable_ids(endpoint: Endpoint, body: bytes) -> list[int] | None:
    """The user id of every row; None if a row has none, or the page cannot be decoded at once."""
    id_field = ENDPOINTS[endpoint].id_field
    try:
        return [getattr(row, id_field) for row in id_decoder(id_field).decode(body).items]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _matching_positions(endpoint: Endpoint, rows: list[str], row_filter: RowFilter) -> set[int]:
    row_ids = [readable_row_id(endpoint, row) for row in rows]
    matching_ids = row_filter.matching_ids(row_id for row_id in row_ids if row_id is not None)
    return {
        position
        for position, (row_id, row) in enumerate(zip(row_ids, rows, strict=True))
        if row_id in matching_ids
        or (row_id is None and row != PLACEHOLDER and row_filter.matches_row_without_id(endpoint, row))
    }


def _page(body: bytes, rows: list[str]) -> bytes:
    """A page of these rows, with the documented fields of the envelope of `body`."""
    envelope = json.loads(body)
    fields = {name: envelope[name] for name in _ENVELOPE_FIELDS if name in envelope}
    return f'{{"items":[{",".join(rows)}],{json.dumps(fields)[1:]}'.encode()
