"""The canonical form of an e-mail address, name or id, which is the same for all spellings.

The form is Unicode's compatibility case folding (NFKC, casefold) without invisible characters. It has one kind of
apostrophe, hyphen and space, ASCII digits, and i for both Turkish letters. The domain of an e-mail address is in
Unicode, not in Punycode. The form is only compared. Stored values of a user stay as the source sent them.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from urllib.parse import unquote

_MAX_ROUNDS = 4
# Characters of one label of a domain name (RFC 1035). Decoding Punycode takes time that is quadratic in the length.
_MAX_LABEL_LENGTH = 63
# Default_Ignorable_Code_Point of Unicode, other format characters, and controls that are not white space.
_INVISIBLE = re.compile(
    "[\u0000-\u0008\u000e-\u001b\u007f-\u0084\u0086-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_SIMILAR_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201b\u02bc\u02b9\u2032\u00b4`", "'"),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033", '"'),
        "\u3002": ".",
        "\u0131": "i",
    }
)
_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([/\"'\\]))")
_DOT_ATOM = re.compile(r"""[^\s"(),:;<>@\[\\\]]+""")


def canonical(text: str) -> str:
    """The canonical form of a name, or of any text that may contain one."""
    for _ in range(_MAX_ROUNDS):
        folded = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text.translate(_SIMILAR_CHARACTERS))).translate(
            _SIMILAR_CHARACTERS
        )
        folded = unicodedata.normalize("NFKC", folded.casefold()).replace("i\u0307", "i")
        if folded == text:
            break
        text = folded
    if not text.isascii():
        text = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)
    return " ".join(text.split())


def canonical_e_mail(text: str) -> str:
    """The canonical form of an e-mail address. A text that is no address is treated as a name."""
    local, separator, domain = canonical(text).rpartition("@")
    if not separator:
        return domain
    local, domain = local.strip(), domain.strip().rstrip(".")
    if len(local) > 1 and local[0] == local[-1] == '"':
        unquoted = re.sub(r"\\(.)", r"\1", local[1:-1])
        local = unquoted if _DOT_ATOM.fullmatch(unquoted) else local
    return f"{local}@{canonical('.'.join(map(_in_unicode, domain.split('.'))))}"


def legacy_forms(e_mail: str) -> set[str]:
    """The forms of a canonical e-mail address that earlier versions stored: the address as sent, in lower case."""
    local, _, domain = e_mail.rpartition("@")
    domains = {domain, ".".join(map(_in_punycode, domain.split(".")))}
    return {unicodedata.normalize(form, f"{local}@{name}") for name in domains for form in ("NFC", "NFD")}


def decoded_forms(text: str) -> set[str]:
    """The text, and the texts that result from decoding JSON, HTML or URL escapes or repairing a wrong encoding."""
    forms = newest = {text}
    for _ in range(_MAX_ROUNDS):
        newest = {decoded for form in newest for decoded in _decoded_once(form)} - forms
        if not newest:
            break
        forms = forms | newest
    return forms


@cache
def combining_marks() -> str:
    """Characters that combine with the preceding letter, for a character class. `\\w` does not include them."""
    marks = "".join(chr(point) for point in range(0x300, 0x20000) if unicodedata.category(chr(point))[0] == "M")
    return re.escape(marks)


def _decoded_once(text: str) -> Iterator[str]:
    if "\\" in text:
        characters = _ESCAPED.sub(lambda match: _unescape(*match.groups()), text)
        yield characters.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if "%" in text:
        yield unquote(text)
        yield unquote(text, "latin-1")
    if "&" in text:
        yield html.unescape(text)
    if not text.isascii():
        for encoding in ("latin-1", "cp1252"):
            with suppress(UnicodeError):
                yield text.encode(encoding).decode()


def _unescape(four_digits: str | None, two_digits: str | None, character: str | None) -> str:
    return character or chr(int(four_digits or two_digits or "", 16))


def _in_unicode(label: str) -> str:
    if label.startswith("xn--") and len(label) <= _MAX_LABEL_LENGTH:
        with suppress(UnicodeError):
            return label.removeprefix("xn--").encode("ascii").decode("punycode")
    return label


def _in_punycode(label: str) -> str:
    if label.isascii() or len(label) > _MAX_LABEL_LENGTH:
        return label
    return "xn--" + label.encode("punycode").decode()
