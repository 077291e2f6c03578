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

# Whole: an apostrophe behind a letter is part of it, as in o'brien@x.com, any other is a quotation mark.
_LETTER = rf"[\w{combining_marks()}]"
_IN_LOCAL_PART = rf"[\w{combining_marks()}.!#$%&?^~+-]"
_IN_DOMAIN = rf"[\w{combining_marks()}-]+"
_E_MAIL = re.compile(
    rf"""(?:"[^"\n]+"|(?<!{_IN_LOCAL_PART})(?<!{_LETTER}')(?:{_IN_LOCAL_PART}|(?<={_LETTER})')++)"""
    rf"""@{_IN_DOMAIN}(?:\.{_IN_DOMAIN})*"""
)
_LONGEST_ID = 19


@dataclass(frozen=True)
class UserIdentity:
    """A listener as rows may name them."""

    user_id: int
    e_mails: frozenset[str] = frozenset()
    names: frozenset[tuple[str, str]] = frozenset()

    def matching_ids(self, user_ids: Iterable[int]) -> set[int]:
        """This listener, if they are one of these."""
        return {self.user_id} & set(user_ids)

    def matches_row_without_id(self, endpoint: Endpoint, raw: str) -> bool:
        """Whether a row without a readable id tells of them."""
        said = canonical_text(raw)
        if not self._canonical_e_mails.isdisjoint(e_mails_in(raw)):
            return True
        if any(all(name.search(said) for name in pair) for pair in self._whole_names):
            return True
        content = _content(raw)
        about = canonical(str(content.get(ENDPOINTS[endpoint].id_field))) if isinstance(content, dict) else said
        return self._number.search(about) is not None

    @cached_property
    def _canonical_e_mails(self) -> frozenset[str]:
        return frozenset(map(canonical_e_mail, self.e_mails))

    @cached_property
    def _whole_names(self) -> list[list[re.Pattern[str]]]:
        return [[_word(name) for name in pair] for pair in self.names]

    @cached_property
    def _number(self) -> re.Pattern[str]:
        return re.compile(rf"(?<!\d){self.user_id}(?!\d)")

    def with_details(self, rows: Iterable[tuple[str, str, str]]) -> UserIdentity:
        """With more e-mails, first and last names of theirs."""
        e_mails, names = set(self.e_mails), set(self.names)
        for e_mail, first, last in rows:
            e_mails |= {e_mail.strip()} if e_mail.strip() else set()
            names |= {(first.strip(), last.strip())} if first.strip() and last.strip() else set()
        return UserIdentity(self.user_id, frozenset(e_mails), frozenset(names))


def rows_of_user(endpoint: Endpoint, body: bytes, identity: UserIdentity) -> Iterator[dict[str, Any]]:
    """The rows of a page that name this listener's id."""
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
    """Everything that the JSON text of a row says, in canonical form; the text itself where it cannot be read."""
    return "\n".join(canonical(text) for text in _readings(raw))


def e_mails_in(raw: str) -> set[str]:
    """Every e-mail address in the JSON text of a row, in canonical form: each value with an @, and what is in it."""
    said = [text for text in map(canonical, _readings(raw)) if "@" in text]
    return {canonical_e_mail(text) for text in [*said, *_addresses(said)]}


def legacy_e_mails_in(raw: str) -> set[str]:
    """The same as earlier versions wrote them, as far as that can be told: their hashes cannot be made anew."""
    said = [text.casefold().strip() for text in _readings(raw) if "@" in text]
    return {*said, *_addresses(said), *(form for e_mail in e_mails_in(raw) for form in legacy_forms(e_mail))}


def ids_in_key_field(endpoint: Endpoint, raw: str) -> set[int]:
    """Every number that stands in place of the id of a row, where the id itself cannot be read."""
    key, content = ENDPOINTS[endpoint].id_field, _content(raw)
    if isinstance(content, dict):
        about = [canonical(str(content[key]))] if isinstance(content.get(key), str | list | dict) else []
    elif content is None:
        about = re.findall(rf"""\b{key}\b["']?\s*[:=]\s*["']?([+-]?\d+)""", canonical_text(raw))
    else:
        about = []
    return {int(number) for text in about for number in re.findall(r"\d+", text) if len(number) <= _LONGEST_ID}


def _addresses(texts: Sequence[str]) -> list[str]:
    """The addresses in texts, also where spaces are around the @."""
    joined = [re.sub(r"\s*@\s*", "@", text) for text in texts]
    return [e_mail for text in {*texts, *joined} for e_mail in _E_MAIL.findall(text)]


def _readings(raw: str) -> set[str]:
    """Every name and value of a row, and what they say when escapes in them are resolved."""
    content = _content(raw)
    texts = set(_texts(content)) if content is not None else {raw}
    return {reading for text in texts for reading in decoded_forms(text)}


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
