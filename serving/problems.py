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
from serving.field_errors import field_error, invalid_json, unreadable_body
from serving.request_context import context_of

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS_DATABASE_UNAVAILABLE = 2
RETRY_SECONDS_NOT_PUBLISHED = 30
_MAX_FIELD_ERRORS = 50

Handler = Callable[[Request, Exception], Coroutine[Any, Any, Response]]


@dataclass(frozen=True)
class ProblemType:
    """A type of problem. Clients distinguish problems by `name`.

    A response has `detail` unless its problem has a text of its own. The documentation has `detail` as the example, and
    `next_step` says what the client does.
    """

    name: str
    status: HTTPStatus
    title: str
    detail: str
    next_step: str

    @property
    def type(self) -> str:
        return f"urn:moovitamix:problem:{self.name}"


BAD_REQUEST = ProblemType(
    "bad-request",
    HTTPStatus.BAD_REQUEST,
    "The request cannot be read",
    "the body is not JSON: expecting value at line 1, column 13",
    "correct what `detail` names",
)
MISSING_KEY = ProblemType(
    "no-key",
    HTTPStatus.UNAUTHORIZED,
    "An API key is required",
    "send it as: Authorization: Bearer <key>",
    "send an API key",
)
INVALID_KEY = ProblemType(
    "wrong-key",
    HTTPStatus.UNAUTHORIZED,
    "The API key is not accepted",
    "unknown, revoked or expired",
    "send a valid API key",
)
MISSING_SCOPE = ProblemType(
    "missing-scope",
    HTTPStatus.FORBIDDEN,
    "The API key lacks a scope",
    "it lacks the scope recommendations:read",
    "get a key with the scope that `WWW-Authenticate` names",
)
UNKNOWN_USER = ProblemType(
    "unknown-listener",
    HTTPStatus.NOT_FOUND,
    "No such user",
    "unknown, or removed",
    "check the user id, or show `GET /v1/popular`",
)
UNKNOWN_TRACK = ProblemType(
    "unknown-track", HTTPStatus.NOT_FOUND, "No such track", "unknown, or removed", "check the track id"
)
NOT_FOUND = ProblemType(
    "not-found",
    HTTPStatus.NOT_FOUND,
    "No such path",
    "this path does not exist; /docs lists all paths",
    "correct the path",
)
METHOD_NOT_ALLOWED = ProblemType(
    "method-not-allowed",
    HTTPStatus.METHOD_NOT_ALLOWED,
    "The path does not support the method",
    "this path does not support this method; the header Allow lists its methods",
    "use a method that `Allow` lists",
)
BODY_TOO_SLOW = ProblemType(
    "too-slow",
    HTTPStatus.REQUEST_TIMEOUT,
    "The body was not received in time",
    "send it within 10 seconds",
    "send the body faster",
)
EXPIRED_CURSOR = ProblemType(
    "expired-cursor",
    HTTPStatus.GONE,
    "The list of the cursor is not served any more",
    "the publication of this cursor was deleted; read again without a cursor",
    "read again without `cursor`, and with `exclude` for the tracks that the page shows",
)
BODY_TOO_LARGE = ProblemType(
    "too-large",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "The body is too large",
    "at most 262,144 bytes",
    "send a smaller body",
)
UNSUPPORTED_BODY = ProblemType(
    "unsupported-media-type",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "The body is not sent as JSON",
    "send the body as JSON, with the header Content-Type: application/json",
    "send `Content-Type: application/json`, and no compressed body",
)
INVALID = ProblemType(
    "invalid-request",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "The request is not valid",
    "errors lists each invalid field",
    "correct the fields in `errors`",
)
UNKNOWN_REFERENCE = ProblemType(
    "unknown-reference",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "Feedback on something unknown",
    "errors lists the unknown or removed references",
    "check the ids in `errors`",
)
TOO_MANY_REQUESTS = ProblemType(
    "too-many-requests",
    HTTPStatus.TOO_MANY_REQUESTS,
    "Too many requests",
    "at most 6,000 requests a minute",
    "wait `Retry-After` seconds",
)
DEFECT = ProblemType(
    "defect",
    HTTPStatus.INTERNAL_SERVER_ERROR,
    "Something went wrong here",
    "the error was logged",
    "report it with `instance`",
)
DATABASE_UNAVAILABLE = ProblemType(
    "database-away",
    HTTPStatus.SERVICE_UNAVAILABLE,
    "The database does not respond",
    "try again in a moment",
    "wait `Retry-After` seconds",
)
NOT_PUBLISHED = ProblemType(
    "not-published",
    HTTPStatus.SERVICE_UNAVAILABLE,
    "Nothing is published yet",
    "there are no recommendations before the first publication",
    "wait `Retry-After` seconds",
)
SESSIONS_UNAVAILABLE = ProblemType(
    "model-away",
    HTTPStatus.SERVICE_UNAVAILABLE,
    "The live model is not loaded",
    "it is loading, or missing; try again in some seconds",
    "show `GET /v1/popular`, and try again after `Retry-After` seconds",
)
# All types, by status. The documentation lists them.
PROBLEM_TYPES = (
    BAD_REQUEST,
    MISSING_KEY,
    INVALID_KEY,
    MISSING_SCOPE,
    UNKNOWN_USER,
    UNKNOWN_TRACK,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    BODY_TOO_SLOW,
    EXPIRED_CURSOR,
    BODY_TOO_LARGE,
    UNSUPPORTED_BODY,
    INVALID,
    UNKNOWN_REFERENCE,
    TOO_MANY_REQUESTS,
    DEFECT,
    DATABASE_UNAVAILABLE,
    NOT_PUBLISHED,
    SESSIONS_UNAVAILABLE,
)
_TYPES_OF_HTTP_ERRORS = {kind.status: kind for kind in (BAD_REQUEST, NOT_FOUND, METHOD_NOT_ALLOWED)}


class Problem(HTTPException):
    """An error response. It is an HTTPException, so that FastAPI does not convert it while it reads a body."""

    def __init__(
        self,
        kind: ProblemType,
        explanation: str = "",
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Mapping[str, str]] = (),
        extra_members: Mapping[str, Any] | None = None,
        why: str | None = None,
    ) -> None:
        """`explanation` replaces the detail of the type. `extra_members` are added to the problem details. `why` is for
        the log only.
        """
        self.kind = kind
        self.explanation = explanation or kind.detail
        super().__init__(kind.status, self.explanation, headers)
        self.errors = errors
        self.extra_members = extra_members or {}
        self.why = why


def not_published(extra_members: Mapping[str, Any] | None = None) -> Problem:
    """The problem of a read before the first publication."""
    headers = {"Retry-After": str(RETRY_SECONDS_NOT_PUBLISHED)}
    return Problem(NOT_PUBLISHED, headers=headers, extra_members=extra_members)


def problem_response(problem: Problem, scope: Scope) -> Response:
    """Convert a problem to a response. `instance` identifies the occurrence; the log line of the request has it too."""
    content = problem_details(problem, f"urn:uuid:{uuid4()}")
    context = context_of(scope)
    context.instance, context.problem = content["instance"], problem.kind.name
    context.why = problem.why or context.why
    return Response(orjson.dumps(content), problem.kind.status, dict(problem.headers or {}), MEDIA_TYPE)


def problem_details(problem: Problem, instance: str) -> dict[str, Any]:
    """The problem details of an occurrence."""
    content: dict[str, Any] = {
        "type": problem.kind.type,
        "title": problem.kind.title,
        "status": problem.kind.status.value,
        "detail": problem.explanation,
        "instance": instance,
    }
    content |= problem.extra_members
    return content | ({"errors": problem.errors} if problem.errors else {})


async def handle_http_exception(request: Request, error: Exception) -> Response:
    """Handle HTTP exceptions of this package, Starlette and FastAPI."""
    if isinstance(error, Problem):
        return problem_response(error, request.scope)
    if not isinstance(error, HTTPException):
        raise error
    explanation = unreadable_body(error) if error.status_code == HTTPStatus.BAD_REQUEST else ""
    headers = dict(error.headers or {})
    if "GET" in headers.get("Allow", "").split(", "):
        headers["Allow"] += ", HEAD"  # every path that supports GET supports HEAD
    if "Allow" in headers:
        headers["Allow"] += ", OPTIONS"
        if request.method == "OPTIONS":
            return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)
    return problem_response(Problem(_type_of(error), explanation, headers), request.scope)


def _type_of(error: HTTPException) -> ProblemType:
    status = HTTPStatus(error.status_code)
    return _TYPES_OF_HTTP_ERRORS.get(status) or ProblemType(
        status.phrase.lower().replace(" ", "-"), status, status.phrase, "the request cannot be read", ""
    )


async def handle_invalid_request(request: Request, error: Exception) -> Response:
    """Handle an invalid parameter or body. The response names the field and the reason, never the sent value."""
    if not isinstance(error, RequestValidationError):
        raise error
    errors = error.errors()
    if errors and errors[0]["type"] == "json_invalid":
        return problem_response(Problem(BAD_REQUEST, invalid_json(error.body, errors[0])), request.scope)
    return problem_response(invalid_request(errors), request.scope)


def invalid_request(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """The problem of invalid parameters or fields. It lists at most 50 of them, and says how many there are."""
    shown = [field_error(error) for error in errors[:_MAX_FIELD_ERRORS]]
    is_complete = len(errors) <= _MAX_FIELD_ERRORS
    explanation = "" if is_complete else f"errors lists the first {_MAX_FIELD_ERRORS} of {len(errors):,} invalid fields"
    return Problem(INVALID, explanation, errors=shown)


async def handle_database_error(request: Request, error: Exception) -> Response:
    """Handle an unavailable database; the client can retry soon."""
    context_of(request.scope).why = str(error)
    headers = {"Retry-After": str(RETRY_SECONDS_DATABASE_UNAVAILABLE)}
    return problem_response(Problem(DATABASE_UNAVAILABLE, headers=headers), request.scope)


EXCEPTION_HANDLERS: dict[int | type[Exception], Handler] = {
    HTTPException: handle_http_exception,
    RequestValidationError: handle_invalid_request,
    DatabaseError: handle_database_error,
}
