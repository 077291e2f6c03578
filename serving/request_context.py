"""What the log and the metrics want to know of one request, noted on its way."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import Scope

_SCOPE_KEY = "moovitamix.note"


@dataclass(slots=True)
class RequestContext:
    """Nothing of it is a person's: no user ids, no names, no secrets."""

    key_id: str | None = None
    problem: str | None = None
    instance: str | None = None
    why: str | None = None


def start_request_context(scope: Scope) -> RequestContext:
    """A fresh note for the request."""
    context = scope[_SCOPE_KEY] = RequestContext()
    return context


def context_of(scope: Scope) -> RequestContext:
    """The note of the request; a loose one where nobody observes."""
    context = scope.get(_SCOPE_KEY)
    return context if isinstance(context, RequestContext) else start_request_context(scope)
