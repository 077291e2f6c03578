"""The format of pages: recorded pages of the real API, the keys of a page, and bodies that are not pages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.endpoints import ENDPOINTS, Endpoint
from core.errors import TransientSourceError
from pipeline.decoding import decode_rows
from pipeline.page_format import keyed_envelope, raw_rows

RECORDED = Path(__file__).parents[2] / "data" / "contract"


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_every_row_of_the_recorded_page_is_valid(endpoint: Endpoint) -> None:
    body = (RECORDED / f"{endpoint}.page1.json").read_bytes()
    decoded = decode_rows(endpoint, [body], 0, frozenset())
    assert (decoded.rows_landed, decoded.rejected, decoded.unknown_fields) == (100, [], {})
    total, size, keys = keyed_envelope(endpoint, body)
    assert (total, size, len(set(keys))) == (1000, 100, 100)


@pytest.mark.parametrize("endpoint", ["tracks", "users"])
def test_a_key_is_the_same_beside_a_broken_row(endpoint: Endpoint) -> None:
    good = json.dumps({"items": [{"id": 5}], "total": 1}).encode()
    beside = json.dumps({"items": [{"id": 5}, None, {"id": None}, {"id": [1]}], "total": 4}).encode()
    (key,) = keyed_envelope(endpoint, good)[2]
    keys = keyed_envelope(endpoint, beside)[2]
    assert keys[0] == key
    assert keys[1:3] == (None, None)


@pytest.mark.parametrize("created_at", ["2026-11-22T10:00:00", "\u00e9", "\ud800"])
def test_a_key_of_any_text_is_recognised(created_at: str) -> None:
    rows = [{"user_id": user_id, "created_at": created_at} for user_id in (1, 2**70, 1)]
    keys = keyed_envelope("listen_history", json.dumps({"items": rows, "total": 3}).encode())[2]
    assert keys[0] == keys[2] != keys[1]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html><body>Sign in</body></html>", "HTML"),
        (b'{"items": [{"id": 1}, {"i', "not whole JSON"),
        (b"", "not whole JSON"),
        (b"null", "without the documented envelope"),
        (b'{"total": 3}', "without the documented envelope"),
        (b'{"items": []}', "without the documented envelope"),
        (b'{"items": [], "total": "3"}', "without the documented envelope"),
        (b'{"items": {}, "total": 3}', "without the documented envelope"),
        (b"[" * 100_000, "not whole JSON"),
        (b'{"items": ["\xff"], "total": 1}', "not whole JSON"),
    ],
)
def test_a_body_that_is_not_a_page_raises_a_transient_error(body: bytes, message: str) -> None:
    with pytest.raises(TransientSourceError, match=message):
        keyed_envelope("tracks", body)


def test_raw_rows_are_the_text_of_the_response() -> None:
    assert raw_rows(b'{"items": [{"id":  1.50}, null], "total": 2}') == [b'{"id":  1.50}', b"null"]
