"""Match raw rows of /users and /listen_history to a user, and remove that user's rows from pages.

A row with a readable id belongs to the user with that id, also if the id is written as a text or a float. A row without
a readable id belongs to a user if it contains their e-mail address, full name, or their id in another field. All values
are compared in their canonical form (`core/canonical.py`). A placeholder replaces each removed row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from core.canonical import canonical, canonical_e_mail, combining_marks, decoded_forms, legacy_forms
from core.endpoints import ENDPOINTS, Endpoint
from pipeline.decoding import readable_row_id
from pipeline.page_format import raw_rows
from pipeline.row_filter import readable_ids

# An apostrophe after a letter belongs to the address, as in o'brien@x.com. Any other is a quotation mark.
_LETTER = rf"[\w{combining_marks()}]"
_IN_LOCAL_PART = rf"[\w{combining_marks()}.!#$%&?^~+-]"
_IN_DOMAIN = rf"[\w{combining_marks()}-]+"
_E_MAIL = re.compile(
    rf"""(?:"[^"\n]+"|(?<!{_IN_LOCAL_PART})(?<!{_LETTER}')(?:{_IN_LOCAL_PART}|(?<={_LETTER})')++)"""
    rf"""@{_IN_DOMAIN}(?:\.{_IN_DOMAIN})*"""
)
_MAX_ID_DIGITS = 19


@dataclass(frozen=True)
class UserIdentity:
    """The id, e-mail addresses and full names by which rows may identify a user."""

    user_id: int
    e_mails: frozenset[str] = frozenset()
    names: frozenset[tuple[str, str]] = frozenset()

    def matching_ids(self, user_ids: Iterable[int]) -> set[int]:
        """The id of this user, if it is among `user_ids`."""
        return {self.user_id} & set(user_ids)

    def matches_row_without_id(self, endpoint: Endpoint, raw: str) -> bool:
        """Whether a row without a readable id belongs to this user."""
        text = canonical_text(raw)
        if not self._canonical_e_mails.isdisjoint(e_mails_in(raw)):
            return True
        if any(all(name.search(text) for name in pair) for pair in self._name_patterns):
            return True
        content = _content(raw)
        id_text = canonical(str(content.get(ENDPOINTS[endpoint].id_field))) if isinstance(content, dict) else text
        return self._id_pattern.search(id_text) is not None

    @cached_property
    def _canonical_e_mails(self) -> frozenset[str]:
        return frozenset(map(canonical_e_mail, self.e_mails))

    @cached_property
    def _name_patterns(self) -> list[list[re.Pattern[str]]]:
        return [[_word(name) for name in pair] for pair in self.names]

    @cached_property
    def _id_pattern(self) -> re.Pattern[str]:
        return re.compile(rf"(?<!\d){self.user_id}(?!\d)")

    def with_details(self, rows: Iterable[tuple[str, str, str]]) -> UserIdentity:
        """This identity with more e-mail addresses, first names and last names. `rows` has them in this order."""
        e_mails, names = set(self.e_mails), set(self.names)
        for e_mail, first, last in rows:
            e_mails |= {e_mail.strip()} if e_mail.strip() else set()
            names |= {(first.strip(), last.strip())} if first.strip() and last.strip() else set()
        return UserIdentity(self.user_id, frozenset(e_mails), frozenset(names))


def rows_of_user(endpoint: Endpoint, body: bytes, identity: UserIdentity) -> Iterator[dict[str, Any]]:
    """The rows of a page that have the user's id."""
    ids = readable_ids(endpoint, body)
    if ids is not None and identity.user_id not in ids:
        return
    for raw in raw_rows(body):
        text = raw.decode("utf-8", "backslashreplace")
        if readable_row_id(endpoint, text) == identity.user_id:
            content = _content(text)
            if isinstance(content, dict):
                yield content


def canonical_text(raw: str) -> str:
    """All names and values in the JSON text of a row, in canonical form. Invalid JSON is one value."""
    return "\n".join(canonical(text) for text in _decoded_texts(raw))


def e_mails_in(raw: str) -> set[str]:
    """The e-mail addresses in the JSON text of a row, in canonical form. Whole values with an @ are included."""
    texts = [text for text in map(canonical, _decoded_texts(raw)) if "@" in text]
    return {canonical_e_mail(text) for text in [*texts, *_addresses(texts)]}


def legacy_e_mails_in(raw: str) -> set[str]:
    """The addresses of `e_mails_in` in the forms of earlier versions, whose stored hashes cannot be recomputed."""
    texts = [text.casefold().strip() for text in _decoded_texts(raw) if "@" in text]
    return {*texts, *_addresses(texts), *(form for e_mail in e_mails_in(raw) for form in legacy_forms(e_mail))}


def ids_in_key_field(endpoint: Endpoint, raw: str) -> set[int]:
    """The numbers in the key field of a row without a readable id."""
    key, content = ENDPOINTS[endpoint].id_field, _content(raw)
    if isinstance(content, dict):
        texts = [canonical(str(content[key]))] if isinstance(content.get(key), str | list | dict) else []
    elif content is None:
        texts = re.findall(rf"""\b{key}\b["']?\s*[:=]\s*["']?([+-]?\d+)""", canonical_text(raw))
    else:
        texts = []
    return {int(number) for text in texts for number in re.findall(r"\d+", text) if len(number) <= _MAX_ID_DIGITS}


def _addresses(texts: Sequence[str]) -> list[str]:
    """The addresses in texts, also with spaces around the @."""
    joined = [re.sub(r"\s*@\s*", "@", text) for text in texts]
    return [e_mail for text in {*texts, *joined} for e_mail in _E_MAIL.findall(text)]


def _decoded_texts(raw: str) -> set[str]:
    """Every name and value of a row, as sent and with escapes decoded."""
    content = _content(raw)
    texts = set(_texts(content)) if content is not None else {raw}
    return {form for text in texts for form in decoded_forms(text)}


def _content(raw: str) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _texts(content: Any) -> Iterator[str]:
    """Every name and value of a row, as text."""
    if isinstance(content, dict):
        for name, value in content.items():
            yield name
            yield from _texts(value)
    elif isinstance(content, list):
        for value in content:
            yield from _texts(value)
    else:
        yield str(content)


def _word(text: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!{_LETTER}){re.escape(canonical(text))}(?!{_LETTER})")
