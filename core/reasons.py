"""Reasons and references that people give for a decision. They are stored, so they must not hold personal data."""

from __future__ import annotations

import re

from core.canonical import canonical, decoded_forms
from core.errors import UsageError

_MAX_LENGTH = 500
_E_MAIL = re.compile(r"\S@\S")


def check_reason(text: str | None, name: str) -> str:
    """The text as one line. `name` is the option for messages, such as `--reason`.

    Raises UsageError if the text is empty, too long, or contains an e-mail address.
    """
    line = " ".join((text or "").split())
    if not line:
        raise UsageError(f"{name} must not be empty: it is stored with the decision")
    if len(line) > _MAX_LENGTH:
        raise UsageError(f"{name} must have at most {_MAX_LENGTH} characters")
    if any(_E_MAIL.search(canonical(form)) for form in decoded_forms(line)):
        raise UsageError(f"{name} must not contain an e-mail address: give a reference, such as a ticket number")
    return line
