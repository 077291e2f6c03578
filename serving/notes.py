"""What the log and the metrics want to know of one request, noted on its way."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import Scope

_PLACE = "moovitamix.note"


@dataclass(slots=True)
class Note:
    """Nothing of it is a person's: no user ids, no names, no secrets."""

    key_id: str | None = None
    problem: str | None = None
    instance: str | None = None
    why: str | None = None


def begin_note(scope: Scope) -> Note:
    """A fresh note for the request."""
    note = scope[_PLACE] = Note()
    return note


def note_of(scope: Scope) -> Note:
    """The note of the request; a loose one where nobody observes."""
    note = scope.get(_PLACE)
    return note if isinstance(note, Note) else begin_note(scope)
