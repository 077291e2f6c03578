"""What people write down beside a decision: why, and a reference to who asked. No personal data may get in with it."""

from __future__ import annotations

import re

from core.canonical import canonical, decoded_forms
from core.errors import UsageError

_LONGEST = 500
_E_MAIL = re.compile(r"\S@\S")


def check_reason(text: str | None, name: str) -> str:
    """The text in one line. `name` is how people know it, such as `--reason`.

    Raises UsageError when it is empty, too long, or holds an e-mail address.
    """
    line = " ".join((text or "").split())
    if not line:
        raise UsageError(f"{name} must say something: it is written down")
    if len(line) > _LONGEST:
        raise UsageError(f"{name} must have at most {_LONGEST} characters")
    if any(_E_MAIL.search(canonical(reading)) for reading in decoded_forms(line)):
        raise UsageError(f"{name} must not hold an e-mail address: give a reference, such as the number of a ticket")
    return line
