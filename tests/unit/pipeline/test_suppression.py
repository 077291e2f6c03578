"""The list of erased listeners: a keyed hash tells them, and of two copies the last word counts."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.columns import USERS
from core.errors import LandingError
from pipeline.suppression import COPY, Suppressed, merged, read_copy

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_only_those_on_the_list_are_turned_away() -> None:
    entry = Suppressed().suppressing(42, NOW)
    listed = Suppressed((entry,))
    assert listed.among(range(100)) == {42}
    assert listed.among(range(100)) == {42}  # from what it remembers
    other = listed.suppressing(43, NOW)
    assert other.key == entry.key
    assert other.fingerprint != entry.fingerprint
    assert Suppressed().suppressing(42, NOW).fingerprint != entry.fingerprint  # another installation, another key


def test_nobody_is_turned_away_by_an_empty_list() -> None:
    assert not Suppressed()
    assert Suppressed().among([1, 2]) == set()


def test_the_last_word_counts_wherever_it_is_kept() -> None:
    first = Suppressed().suppressing(42, NOW)
    allowed = replace(first, allowed_at=NOW + timedelta(hours=1))
    again = Suppressed((allowed,)).suppressing(42, NOW + timedelta(hours=2))
    assert again.allowed_at is None
    for lists, turned_away in (((first, allowed), set()), ((allowed, first), set()), ((again, allowed, first), {42})):
        assert merged(*(Suppressed((one,)) for one in lists)).among([42]) == turned_away


def test_a_copy_that_cannot_be_read_lets_nobody_in(tmp_path: Path) -> None:
    assert read_copy(tmp_path) == Suppressed()
    (tmp_path / COPY).parent.mkdir()
    for damaged in ("", "[]", '{"listeners": [{"key": "00"}]}'):
        (tmp_path / COPY).write_text(damaged)
        with pytest.raises(LandingError, match=r"list of erased listeners .* cannot be read"):
            read_copy(tmp_path)


def test_a_row_without_an_id_is_theirs_by_a_known_e_mail() -> None:
    listed = Suppressed((Suppressed().suppressing(42, NOW, ["Ada@example.com"]),))
    again = Suppressed((listed.suppressing(42, NOW, ["ada.l@example.com"]),))
    for row, theirs in (
        ('{"id": null, "email": "ADA@example.com"}', True),
        ('{"id": null, "email": "ada\\u0040example.com "}', True),
        ("{broken, <Ada@example.com>", True),
        ('{"id": null, "email": "bada@example.com"}', False),
        ("42", False),
    ):
        assert listed.is_borne_by(USERS, row) == theirs
        assert again.is_borne_by(USERS, row) == theirs
    assert again.is_borne_by(USERS, '["ada.l@example.com"]')
    assert not listed.is_borne_by(USERS, '["ada.l@example.com"]')


def test_an_e_mail_is_known_again_however_odd() -> None:
    odd = ["o'brien@x.com", '"ann lee"@x.com', "a,b@x.com", "x=/{}|y@x.com"]
    listed = Suppressed((Suppressed().suppressing(42, NOW, odd),))
    for e_mail in odd:
        assert listed.is_borne_by(USERS, json.dumps({"id": None, "email": f" {e_mail.upper()}"})), e_mail
    assert listed.is_borne_by(USERS, "{broken, 'O'Brien@x.com'")
    for other in ("brien@x.com", "lee@x.com", "b@x.com", "y@x.com"):
        assert not listed.is_borne_by(USERS, json.dumps([other]))
    assert not Suppressed((Suppressed().suppressing(42, NOW, ["brien@x.com"]),)).is_borne_by(
        USERS, '["o\'brien@x.com"]'
    )
