"""Decoding: strict, row by row if necessary, and no value of a row in a reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.endpoints import Endpoint
from pipeline.decoding import DecodedRows, decode_rows

SESSION: dict[str, Any] = {
    "user_id": 7,
    "items": [3, 1, 3],
    "created_at": "2026-01-02T03:04:05.000006",
    "updated_at": "2026-01-02T03:04:05.000006",
}
USER: dict[str, Any] = {
    "id": 7,
    "first_name": "Ada",
    "last_name": "Lovelace",
    "email": "ada@example.com",
    "gender": "Female",
    "favorite_genres": "Jazz",
    "created_at": "2026-01-02T03:04:05.000006",
    "updated_at": "2026-01-02T03:04:05.000006",
}


def decode(endpoint: Endpoint, *pages: list[Any], offset: int = 0) -> DecodedRows:
    bodies = [json.dumps({"items": rows, "total": 1, "page": 1, "size": 100, "pages": 1}).encode() for rows in pages]
    return decode_rows(endpoint, bodies, offset, frozenset())


def test_rows_become_columns_with_their_positions() -> None:
    decoded = decode("listen_history", [SESSION], [SESSION | {"user_id": 8, "items": None}], offset=40)
    assert decoded.frame["row_position"].to_list() == [41, 42]
    assert decoded.frame["user_id"].to_list() == [7, 8]
    assert decoded.frame["items"].to_list() == ["{3,1,3}", "{}"]
    assert (decoded.rows_landed, decoded.plays_landed) == (2, 3)


def test_plays_are_numbered_within_their_session() -> None:
    plays = decode("listen_history", [SESSION, SESSION | {"items": []}, SESSION | {"items": [9]}]).plays()
    assert plays.select("row_position", "track_id", "play_position").rows() == [
        (1, 3, 1),
        (1, 1, 2),
        (1, 3, 3),
        (3, 9, 1),
    ]


def test_an_invalid_row_does_not_affect_its_page() -> None:
    decoded = decode("users", [USER, USER | {"id": True}, USER | {"id": 9}])
    assert decoded.frame["id"].to_list() == [7, 9]
    (rejected,) = decoded.rejected
    assert (rejected.row_position, rejected.reason, rejected.row_id) == (2, "id: expected int, got bool", None)
    assert json.loads(rejected.raw_json) == USER | {"id": True}


@pytest.mark.parametrize("email", [None, 5, ["ada@example.com"], {"ada": "lovelace"}])
def test_a_reason_names_the_field_and_quotes_no_value(email: Any) -> None:
    (rejected,) = decode("users", [USER | {"email": email}]).rejected
    assert rejected.reason.startswith("email: expected str")
    assert "ada" not in rejected.reason
    assert rejected.row_id == 7


def test_a_number_with_thousands_of_digits_rejects_one_row() -> None:
    body = json.dumps({"items": [USER, USER], "total": 2}).replace('"id": 7', '"id": ' + "9" * 5000, 1).encode()
    decoded = decode_rows("users", [body], 0, frozenset())
    assert len(decoded.rejected) == 1
    assert decoded.frame["id"].to_list() == [7]


def test_half_a_surrogate_pair_rejects_one_row() -> None:
    decoded = decode("users", [USER | {"first_name": "\ud800"}, USER | {"first_name": "\U0001f3b5"}])
    assert [row.reason for row in decoded.rejected] == ["not readable as JSON text"]
    assert decoded.rejected[0].raw_json.encode()  # Postgres can hold it
    assert decoded.frame["first_name"].to_list() == ["\U0001f3b5"]


def test_nan_rejects_one_row() -> None:
    decoded = decode("users", [USER | {"id": float("nan")}, USER])
    assert len(decoded.rejected) == 1
    assert decoded.frame["id"].to_list() == [7]


def test_unknown_fields_are_counted_and_removed() -> None:
    decoded = decode("users", [USER | {"mood": 1}, USER], [USER | {"mood": None, "age": 5}])
    assert decoded.unknown_fields == {"mood": 2, "age": 1}
    assert decoded.rows_with_unknown_fields == 2
    assert decoded.rejected == []
    assert set(decoded.frame.columns) == {*USER, "row_position"}


def test_unknown_fields_of_earlier_pages_are_counted_when_a_page_is_decoded_at_once() -> None:
    body = json.dumps({"items": [USER | {"mood": 1}, USER], "total": 2}).encode()
    decoded = decode_rows("users", [body], 0, frozenset({"mood", "age"}))
    assert decoded.unknown_fields == {"mood": 1}
    assert decoded.rows_with_unknown_fields == 1


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (None, "not an object: null"),
        ("x", "not an object: text"),
        ([1], "not an object: a list"),
        (5, "not an object: a number"),
    ],
)
def test_a_row_that_is_not_an_object_is_rejected(record: Any, reason: str) -> None:
    decoded = decode("listen_history", [record, SESSION])
    assert [row.reason for row in decoded.rejected] == [reason]
    assert decoded.rows_landed == 2


def test_invalid_plays_are_removed_from_their_session() -> None:
    decoded = decode("listen_history", [SESSION | {"items": [3, None, "x", 1.5, -1, 4]}])
    assert decoded.frame["items"].to_list() == ["{3,4}"]
    assert [row.play_position for row in decoded.rejected] == [2, 3, 4, 5]
    assert decoded.plays_landed == 6
