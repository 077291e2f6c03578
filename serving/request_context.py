"""Facts about one request, collected for its log line and the metrics."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import Scope

_SCOPE_KEY = "moovitamix.context"


@dataclass(slots=True)
class RequestContext:
    """Contains no personal data: no user ids, no names, no secrets."""

    key_id: str | None = None
    problem: str | None = None
    instance: str | None = None
    why: str | None = None


def start_request_context(scope: Scope) -> RequestContext:
    """Attach a new context to the request."""
    context = scope[_SCOPE_KEY] = RequestContext()
    return context


def context_of(scope: Scope) -> RequestContext:
    """The context of the request, created if it is missing."""
    context = scope.get(_SCOPE_KEY)
    return context if isinstance(context, RequestContext) else start_request_context(scope)
