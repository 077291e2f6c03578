"""The errors of each operation in the OpenAPI document, generated from the problem types."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from serving.problems import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    BODY_TOO_SLOW,
    DATABASE_UNAVAILABLE,
    DEFECT,
    INVALID,
    INVALID_KEY,
    MEDIA_TYPE,
    MISSING_KEY,
    MISSING_SCOPE,
    PROBLEM_TYPES,
    TOO_MANY_REQUESTS,
    UNKNOWN_REFERENCE,
    UNSUPPORTED_BODY,
    Problem,
    ProblemType,
    problem_details,
)

_INSTANCE = "urn:uuid:6f0f1e1c-52f2-4c0e-9f6f-0d6f6f4f2b7a"
_UNKNOWN_TRACK = {"field": "body.track_id", "message": "is unknown"}
_INVALID_LIMIT = {"field": "query.limit", "message": "must be at most 50"}
_HEADERS = {
    401: {"WWW-Authenticate": "How to send the API key."},
    403: {"WWW-Authenticate": "The scope that the API key lacks."},
    429: {
        "Retry-After": "Seconds to wait.",
        "RateLimit-Policy": "The limit: its name, the number of requests, and the window in seconds.",
        "RateLimit": "The remaining requests, and the seconds until the window resets.",
    },
    503: {"Retry-After": "Seconds to wait."},
}

KEY_ERRORS = (MISSING_KEY, INVALID_KEY, MISSING_SCOPE, TOO_MANY_REQUESTS)
READ_ERRORS = (*KEY_ERRORS, BODY_TOO_LARGE, INVALID, DATABASE_UNAVAILABLE)
BODY_ERRORS = (*READ_ERRORS, BAD_REQUEST, BODY_TOO_SLOW, UNSUPPORTED_BODY)
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "The content still has the ETag of `If-None-Match`."},
}


def error_responses(
    *types: ProblemType, invalid: Mapping[str, str] = _INVALID_LIMIT
) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of these problem types, and of a defect, each with an example as it is sent.

    `invalid` is the field in the example of an invalid request.
    """
    errors = {INVALID: (invalid,), UNKNOWN_REFERENCE: (_UNKNOWN_TRACK,)}
    by_status: dict[int | str, list[Problem]] = defaultdict(list)
    for kind in PROBLEM_TYPES:
        if kind in types or kind is DEFECT:
            by_status[kind.status.value].append(Problem(kind, errors=errors.get(kind, ())))
    return {status: _response(status, problems) for status, problems in by_status.items()}


def problem_table() -> str:
    """All problem types as a table in Markdown."""
    rows = [f"| {kind.status.value} | `{kind.name}` | {kind.title} | {kind.next_step} |" for kind in PROBLEM_TYPES]
    return "\n".join(["| status | end of `type` | meaning | next step |", "|---|---|---|---|", *rows])


def _response(status: int | str, problems: list[Problem]) -> dict[str, Any]:
    kinds = [problem.kind for problem in problems]
    content = {
        "schema": {"$ref": "#/components/schemas/ProblemDetails"},
        "examples": {
            problem.kind.name: {"summary": problem.kind.title, "value": problem_details(problem, _INSTANCE)}
            for problem in problems
        },
    }
    response: dict[str, Any] = {
        "description": " ".join(f"{kind.title} (`{kind.name}`): {kind.next_step}." for kind in kinds),
        "content": {MEDIA_TYPE: content},
    }
    if status in _HEADERS:
        response["headers"] = {
            name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS[int(status)].items()
        }
    return response
