"""The suppression list: it identifies users by keyed hashes, and the newest decision on a user counts."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.endpoints import LISTEN_HISTORY, USERS
from core.errors import LandingError
from core.file_store import FolderStore
from erasure.suppression_list import SuppressionList, fingerprint, merge, read_copy

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_only_listed_users_are_suppressed() -> None:
    entry = SuppressionList().suppressed_entry(42, NOW)
    listed = SuppressionList((entry,))
    assert listed.matching_ids(range(100)) == {42}
    assert listed.matching_ids(range(100)) == {42}  # from the remembered ids
    second_entry = listed.suppressed_entry(43, NOW)
    assert second_entry.key == entry.key
    assert second_entry.fingerprint != entry.fingerprint
    assert (
        SuppressionList().suppressed_entry(42, NOW).fingerprint != entry.fingerprint
    )  # another installation, another key


def test_an_empty_list_suppresses_nobody() -> None:
    assert not SuppressionList()
    assert SuppressionList().matching_ids([1, 2]) == set()


def test_the_newest_decision_counts_in_any_order_of_the_lists() -> None:
    first = SuppressionList().suppressed_entry(42, NOW)
    allowed = replace(first, allowed_at=NOW + timedelta(hours=1))
    second_list = SuppressionList((allowed,)).suppressed_entry(42, NOW + timedelta(hours=2))
    assert second_list.allowed_at is None
    for entries, suppressed_ids in (
        ((first, allowed), set()),
        ((allowed, first), set()),
        ((second_list, allowed, first), {42}),
    ):
        assert merge(*(SuppressionList((entry,)) for entry in entries)).matching_ids([42]) == suppressed_ids


def test_an_unreadable_copy_is_an_error_and_not_an_empty_list(tmp_path: Path) -> None:
    backups = FolderStore(tmp_path / "backups")
    assert read_copy(backups) == SuppressionList()
    for damaged in ("", "[]", '{"listeners": [{"key": "00"}]}'):
        backups.write("erased.json", damaged)
        with pytest.raises(LandingError, match=r"suppression list .* cannot be read"):
            read_copy(backups)


def test_a_row_without_an_id_matches_by_a_suppressed_e_mail_address() -> None:
    listed = SuppressionList((SuppressionList().suppressed_entry(42, NOW, ["Ada@example.com"]),))
    second_list = SuppressionList((listed.suppressed_entry(42, NOW, ["ada.l@example.com"]),))
    for row, matches in (
        ('{"id": null, "email": "ADA@example.com"}', True),
        ('{"id": null, "email": "ada\\u0040example.com "}', True),
        ("{broken, <Ada@example.com>", True),
        ('{"id": null, "email": "bada@example.com"}', False),
        ("42", False),
    ):
        assert listed.matches_row_without_id(USERS, row) == matches
        assert second_list.matches_row_without_id(USERS, row) == matches
    assert second_list.matches_row_without_id(USERS, '["ada.l@example.com"]')
    assert not listed.matches_row_without_id(USERS, '["ada.l@example.com"]')


def test_unusual_e_mail_addresses_match() -> None:
    odd = ["o'brien@x.com", '"ann lee"@x.com', "a,b@x.com", "x=/{}|y@x.com"]
    listed = SuppressionList((SuppressionList().suppressed_entry(42, NOW, odd),))
    for e_mail in odd:
        assert listed.matches_row_without_id(USERS, json.dumps({"id": None, "email": f" {e_mail.upper()}"})), e_mail
    assert listed.matches_row_without_id(USERS, "{broken, 'O'Brien@x.com'")
    for address in ("brien@x.com", "lee@x.com", "b@x.com", "y@x.com"):
        assert not listed.matches_row_without_id(USERS, json.dumps([address]))
    assert not SuppressionList((SuppressionList().suppressed_entry(42, NOW, ["brien@x.com"]),)).matches_row_without_id(
        USERS, '["o\'brien@x.com"]'
    )


NFC = "jos\u00e9.m\u00fcller@ex\u00e4mple.com"
NFD = unicodedata.normalize("NFD", NFC)
PUNYCODE = "jos\u00e9.m\u00fcller@xn--exmple-cua.com"
SAME_ADDRESS = [
    NFC, NFD, PUNYCODE, NFC.upper(), NFD.upper(), unicodedata.normalize("NFD", PUNYCODE), PUNYCODE.upper(),
    f" {NFC} ", f"\u00a0{NFC}\u3000", f"{NFC}.", f"{NFD}\n", f"\ufeff{NFC}", NFC.replace("@", " @ "),
    NFC.replace("@", "\u200b@"), NFC.replace(".", "\u00ad."), NFC.replace("m\u00fc", "\u2060m\u00fc"),
    NFC.replace("@", "\uff20"), NFC.replace("j", "\uff4a"), NFC.replace("m", "\U0001d426"),
    NFC.replace(".com", "\uff0ecom"), NFC.replace(".com", "\u3002com"),
    f"mailto:{NFC}", f"Jos\u00e9 M\u00fcller <{NFD}>", f'"M\u00fcller, Jos\u00e9" <{PUNYCODE}>',
    f"<{NFC}>", f"({NFC})", f"'{NFC}'", f"his mail is {NFD}, hers is not",
    NFC.replace("jos\u00e9.m\u00fcller", '"jos\u00e9.m\u00fcller"'),
    NFC.replace("jos\u00e9.", '"jos\u00e9\\.').replace("@", '"@'),
    "jos%C3%A9.m%C3%BCller%40ex%C3%A4mple.com", "jos%E9.m%FCller@ex%E4mple.com",
    "jos&eacute;.m&#252;ller&#64;ex&auml;mple.com", NFC.encode().decode("latin-1"),
    r"jos\u00e9.m\u00fcller\u0040ex\u00e4mple.com", r"jos\\u00e9.m\xfcller@ex\u00e4mple.com",
]  # fmt: skip
OTHER_ADDRESSES = [
    "jose.muller@example.com", "jos\u00e9.m\u00fcller@example.com", f"a{NFC}", f"x.{NFD}", f"{NFC}.au",
    NFC.replace("@", "+x@"), NFC.replace("@", "@mail."), NFC.replace("\u00e9", "e"), NFC.replace("\u00e9", "\u00e8"),
    f"{NFC}\u0302",
]  # fmt: skip
INDIAN = "\u0905\u091c\u092f@\u0921\u093e\u091f\u093e.com"


@pytest.mark.parametrize("known_as", [NFC, NFD, PUNYCODE, NFC.upper(), f" {NFC} "])
def test_an_address_matches_in_any_spelling(known_as: str) -> None:
    now = SuppressionList((SuppressionList().suppressed_entry(42, NOW, [known_as]),))
    key = now.entries[0].key
    # Earlier versions only removed white space and converted to lower case.
    before = SuppressionList((replace(now.entries[0], e_mails=(fingerprint(key, known_as.strip().casefold()),)),))
    for listed in (now, before):
        for text in SAME_ADDRESS:
            for escaped in (True, False):
                row = json.dumps({"id": None, "email": text}, ensure_ascii=escaped)
                assert listed.matches_row_without_id(USERS, row), text
                assert listed.matches_row_without_id(USERS, row[:-1]), text  # cut off: no JSON any more
        for text in OTHER_ADDRESSES:
            assert not listed.matches_row_without_id(USERS, json.dumps({"id": None, "email": text})), text


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("ali.\u0131\u015f\u0131k@x.com", "ALI.I\u015eIK@X.COM"),
        ("\u0130rem@x.com", "irem@x.com"),
        ("weiss@stra\u00dfe.de", "WEISS@STRASSE.DE"),
        ("weiss@xn--strae-oqa.de", "wei\u00df@stra\u1e9ee.de"),
        ("\ufb01ona@x.com", "fiona@x.com"),
        (INDIAN, "<\u0905\u091c\u092f@xn--" + "\u0921\u093e\u091f\u093e".encode("punycode").decode() + ".com>"),
        ("o'brien@x.com", "O\u2019Brien@x.com"),
        ("ann-lee@x.com", "ann\u2011lee@x.com"),
        ("user42@x.com", "user\u0664\u0662@x.com"),
    ],
)  # fmt: skip
def test_letters_with_two_spellings_in_case_or_script_match(address: str, written: str) -> None:
    for known_as, sent in ((address, written), (written.strip("<>"), address)):
        listed = SuppressionList((SuppressionList().suppressed_entry(42, NOW, [known_as]),))
        assert listed.matches_row_without_id(USERS, json.dumps({"id": None, "email": sent}))


def test_an_id_among_other_text_in_the_key_field_matches() -> None:
    listed = SuppressionList((SuppressionList().suppressed_entry(42, NOW),))
    for text in ("user 42", "#42", "u\uff14\uff12", "42/7", ["42"], {"value": "42"}):
        assert listed.matches_row_without_id(USERS, json.dumps({"id": text})), text
    assert listed.matches_row_without_id(LISTEN_HISTORY, '{"user_id": "42", "items": [1')
    for text in ("142", "4 2", None, 12.5, "user"):
        assert not listed.matches_row_without_id(
            USERS, json.dumps({"id": text, "created_at": "2042-04-02T00:42:42"})
        ), text
    assert not listed.matches_row_without_id(LISTEN_HISTORY, '{"user_id": "7", "items": [42, 42')
    assert not listed.matches_row_without_id(USERS, "[42]")
