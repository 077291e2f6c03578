"""Subject matching: rows of a user are found in any spelling, and the rest of a page is unchanged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.endpoints import LISTEN_HISTORY, USERS, Endpoint
from erasure.subject_matching import UserIdentity
from pipeline.row_filter import PLACEHOLDER, matches_row, remove_rows

ADA = UserIdentity(42, frozenset({"Ada.L@example.com"}), frozenset({("Ada", "Love Lace")}))


@pytest.mark.parametrize(
    ("endpoint", "row", "matches"),
    [
        (USERS, '{"id": 42}', True),
        (USERS, '{"id": "42"}', True),
        (USERS, '{"id": 4.2e1}', True),
        (USERS, '{"id": "\\u00342"}', True),
        (USERS, '{"id": null, "email": "ada.l@EXAMPLE.com"}', True),
        (USERS, '{"id": null, "email": "ada.l\\u0040example.com"}', True),
        (USERS, '{"id": -1, "first_name": "ADA", "last_name": "love lace"}', True),
        (USERS, '{"who": {"mail": ["Ada.L@example.com"]}}', True),
        (USERS, '{"id": "user 42"}', True),
        (USERS, '[42, "?"]', True),
        (USERS, '{"id": 42', True),
        (LISTEN_HISTORY, '{"user_id": "42", "items": []}', True),
        (LISTEN_HISTORY, '{"user_id": [42]}', True),
        (USERS, '{"id": null, "email": "mailto:ada.l@example.com."}', True),
        (USERS, """{"id": null, 'email': 'ada.l@example.com'}""", True),
        (USERS, "7,ada.l@example.com,Ada", True),
        (USERS, '{"id": " 42 "}', True),
        (USERS, '{"id": "+042.0"}', True),
        (USERS, '{"id": "4.2E1"}', True),
        (USERS, '{"id": "\uff14\uff12"}', True),
        (USERS, '{"id": "\u0664\u0662"}', True),
        (USERS, '{"id": "4\u200b2"}', True),
        (USERS, '{"id": null, "email": "\uff21da.l\uff20example.com"}', True),
        (USERS, '{"id": null, "first_name": "A\u200bDA", "last_name": "Love\u00a0\u2003lace"}', True),
        (USERS, '{"id": null, "name": "Love%20Lace, Ada"}', True),
        # Another user may have the same e-mail address or name, and anyone may play track 42.
        (USERS, '{"id": 7, "email": "ada.l@example.com"}', False),
        (USERS, '{"id": 7, "first_name": "Ada", "last_name": "Love Lace"}', False),
        (USERS, '{"id": null, "first_name": "Adam", "last_name": "Love Lace"}', False),
        (USERS, '{"id": null, "email": "not.ada.l@example.com"}', False),
        (USERS, '{"id": null, "email": "o\'ada.l@example.com"}', False),
        (USERS, '{"id": null, "email": "ada.l@example.com.au"}', False),
        (USERS, '{"id": "142"}', False),
        (USERS, '{"id": "1e999999999"}', False),
        (USERS, '{"id": null, "first_name": "Ada\u0301", "last_name": "Love Lace"}', False),
        (USERS, '{"id": null, "created_at": "2042-04-02"}', False),
        (USERS, "null", False),
        (LISTEN_HISTORY, '{"user_id": null, "items": [42]}', False),
        (LISTEN_HISTORY, '{"user_id": 7, "items": [42]}', False),
    ],
)
def test_a_row_matches_the_user_it_belongs_to(endpoint: Endpoint, row: str, matches: bool) -> None:
    assert matches_row(ADA, endpoint, row) == matches


def test_a_name_matches_in_any_normal_form() -> None:
    for first in ("Ren\u00e9", "Rene\u0301", "RENE\u0301"):
        identity = UserIdentity(42, names=frozenset({(first, "O\u2019Stra\u00dfe")}))
        for name in ("Ren\u00e9", "Rene\u0301", "REN\u00c9", "ren\u00e9"):
            assert matches_row(identity, USERS, json.dumps({"id": None, "first_name": name, "last_name": "o'STRASSE"}))
        assert not matches_row(
            identity, USERS, json.dumps({"id": None, "first_name": "Rene", "last_name": "O'Strasse"})
        )


def page(*rows: Any) -> bytes:
    return json.dumps({"items": rows, "total": 3, "page": 1, "size": 100, "pages": 1, "debug": "Ada"}).encode()


def test_a_page_without_rows_of_the_user_is_unchanged() -> None:
    body = page({"id": 1}, {"id": 2})
    assert remove_rows(USERS, body, ADA) == (body, 0)


def test_other_rows_of_a_page_keep_their_position() -> None:
    body, rows = remove_rows(USERS, page({"id": 1, "x": 1e400}, {"id": 42}, [42]), ADA)
    assert rows == 2
    content = json.loads(body)
    assert content["items"][1:] == [json.loads(PLACEHOLDER)] * 2
    assert {name: content[name] for name in content if name != "items"} == {
        "total": 3, "page": 1, "size": 100, "pages": 1
    }  # fmt: skip
    assert remove_rows(USERS, body, ADA) == (body, 0)


def test_a_body_that_is_not_a_page_is_unchanged() -> None:
    for body in (b"<html>42</html>", b"", b'{"items": 3}', b"[42]"):
        assert remove_rows(USERS, body, ADA) == (body, 0)


def test_a_page_with_ids_out_of_range_is_searched_row_by_row() -> None:
    body, rows = remove_rows(USERS, page({"id": 1}, {"id": -1, "email": "ADA.L@example.com"}), ADA)
    assert rows == 1
    assert b"ADA" not in body
