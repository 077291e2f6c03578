"""Errors as problem details (RFC 9457): the exception class, the problem types, and the exception handlers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from core.errors import DatabaseError
from serving.request_context import context_of

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS_DATABASE_UNAVAILABLE = 2
RETRY_SECONDS_NOT_PUBLISHED = 30


Handler = Callable[[Request, Exception], Coroutine[Any, Any, Response]]


@dataclass(frozen=True)
class ProblemType:
    """A type of problem. Clients distinguish problems by `name`."""

    name: str
    status: HTTPStatus
    title: str

    @property
    def type(self) -> str:
        return f"urn:moovitamix:problem:{self.name}"


UNKNOWN_USER = ProblemType("unknown-listener", HTTPStatus.NOT_FOUND, "No such user")
UNKNOWN_TRACK = ProblemType("unknown-track", HTTPStatus.NOT_FOUND, "No such track")
NOT_PUBLISHED = ProblemType("not-published", HTTPStatus.SERVICE_UNAVAILABLE, "Nothing is published yet")
DATABASE_UNAVAILABLE = ProblemType("database-away", HTTPStatus.SERVICE_UNAVAILABLE, "The database does not respond")
EXPIRED_CURSOR = ProblemType("expired-cursor", HTTPStatus.GONE, "The list of the cursor is not served any more")
SESSIONS_UNAVAILABLE = ProblemType("model-away", HTTPStatus.SERVICE_UNAVAILABLE, "The live model is not loaded")
INVALID = ProblemType("invalid-request", HTTPStatus.UNPROCESSABLE_ENTITY, "The request is not valid")
UNKNOWN_REFERENCE = ProblemType("unknown-reference", HTTPStatus.UNPROCESSABLE_ENTITY, "Feedback on something unknown")
MISSING_KEY = ProblemType("no-key", HTTPStatus.UNAUTHORIZED, "An API key is required")
INVALID_KEY = ProblemType("wrong-key", HTTPStatus.UNAUTHORIZED, "The API key is not accepted")
MISSING_SCOPE = ProblemType("missing-scope", HTTPStatus.FORBIDDEN, "The API key lacks a scope")
TOO_MANY_REQUESTS = ProblemType("too-many-requests", HTTPStatus.TOO_MANY_REQUESTS, "Too many requests")
BODY_TOO_LARGE = ProblemType("too-large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large")
BODY_TOO_SLOW = ProblemType("too-slow", HTTPStatus.REQUEST_TIMEOUT, "The body was not received in time")
DEFECT = ProblemType("defect", HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong here")


class Problem(HTTPException):
    """An error response. It is an HTTPException, so that FastAPI does not convert it while it reads a body."""

    def __init__(
        self,
        kind: ProblemType,
        explanation: str,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Mapping[str, str]] = (),
        extra_members: Mapping[str, Any] | None = None,
        why: str | None = None,
    ) -> None:
        """`extra_members` are added to the problem details. `why` is for the log only."""
        super().__init__(kind.status, explanation, headers)
        self.kind = kind
        self.explanation = explanation
        self.errors = errors
        self.extra_members = extra_members or {}
        self.why = why


def not_published(extra_members: Mapping[str, Any] | None = None) -> Problem:
    """The problem of a read before the first publication."""
    headers = {"Retry-After": str(RETRY_SECONDS_NOT_PUBLISHED)}
    explanation = "there are no recommendations before the first publication"
    return Problem(NOT_PUBLISHED, explanation, headers, extra_members=extra_members)


def problem_response(problem: Problem, scope: Scope) -> Response:
    """Convert a problem to a response. `instance` identifies the occurrence; the log line of the request has it too."""
    content: dict[str, Any] = {
        "type": problem.kind.type,
        "title": problem.kind.title,
        "status": problem.kind.status.value,
        "detail": problem.explanation,
        "instance": f"urn:uuid:{uuid4()}",
    }
    content |= problem.extra_members
    if problem.errors:
        content["errors"] = problem.errors
    context = context_of(scope)
    context.instance, context.problem = content["instance"], problem.kind.name
    context.why = problem.why or context.why
    return Response(orjson.dumps(content), problem.kind.status, dict(problem.headers or {}), MEDIA_TYPE)


async def handle_http_exception(request: Request, error: Exception) -> Response:
    """Handle HTTP exceptions of this package, Starlette and FastAPI."""
    if isinstance(error, Problem):
        return problem_response(error, request.scope)
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    kind = ProblemType(status.phrase.lower().replace(" ", "-"), status, status.phrase)
    explanation = {
        HTTPStatus.NOT_FOUND: "this path does not exist; /docs lists all paths",
        HTTPStatus.METHOD_NOT_ALLOWED: "this path does not support this method; the header Allow lists its methods",
    }.get(status, "the request cannot be read")
    headers = dict(error.headers or {})
    if "GET" in headers.get("Allow", "").split(", "):
        headers["Allow"] += ", HEAD"  # every path that supports GET supports HEAD
    if "Allow" in headers:
        headers["Allow"] += ", OPTIONS"
        if request.method == "OPTIONS":
            return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)
    return problem_response(Problem(kind, explanation, headers), request.scope)


async def handle_invalid_request(request: Request, error: Exception) -> Response:
    """Handle an invalid parameter or body. The response names the field and the reason, never the sent value."""
    if not isinstance(error, RequestValidationError):
        raise error
    errors = [_field_error(field_error) for field_error in error.errors()]
    return problem_response(Problem(INVALID, "errors lists each invalid field", errors=errors), request.scope)


async def handle_database_error(request: Request, error: Exception) -> Response:
    """Handle an unavailable database; the client can retry soon."""
    context_of(request.scope).why = str(error)
    headers = {"Retry-After": str(RETRY_SECONDS_DATABASE_UNAVAILABLE)}
    return problem_response(Problem(DATABASE_UNAVAILABLE, "try again in a moment", headers), request.scope)


EXCEPTION_HANDLERS: dict[int | type[Exception], Handler] = {
    HTTPException: handle_http_exception,
    RequestValidationError: handle_invalid_request,
    DatabaseError: handle_database_error,
}


def _field_error(error: Mapping[str, Any]) -> Mapping[str, str]:
    if error["type"] == "extra_forbidden":  # do not repeat the name of the field, which is input
        return {"field": error["loc"][0], "message": "has an unknown field"}
    path = [part for part in error["loc"] if isinstance(part, str)]
    message = str(error["msg"]).removeprefix("Value error, ")
    lower_case = message if message[:2].isupper() else message[:1].lower() + message[1:]
    return {"field": ".".join(path), "message": lower_case}
