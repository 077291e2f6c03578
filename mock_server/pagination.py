"""Pagination as in the real API: bounds of page and size, the envelope, and error details."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import msgspec

from mock_server.day_state import ENDPOINTS
from mock_server.endpoint_rows import EndpointRows
from mock_server.http_messages import Request, Response, error_response, json_response

DEFAULT_SIZE = 50
LARGEST_SIZE = 100


@dataclass(frozen=True)
class PageRequest:
    """The requested page of an endpoint."""

    endpoint: str
    page: int
    size: int


def parse_page_request(request: Request, token: str | None) -> PageRequest | Response:
    """Parse a page request. If it is invalid, return the error response instead."""
    endpoint = request.path[1:]
    if endpoint not in ENDPOINTS:
        return _redirect_or_not_found(request)
    if request.method != "GET":
        return error_response(405, "Method Not Allowed", (("allow", "GET"),))
    return _refusal(request, token) or _parse_bounds(endpoint, request.parameters)


def _redirect_or_not_found(request: Request) -> Response:
    if request.path.endswith("/") and request.path[1:-1] in ENDPOINTS:
        query = f"?{request.query}" if request.query else ""
        location = f"http://{request.headers.get('host', 'localhost')}{request.path[:-1]}{query}"
        return Response(307, b"", headers=(("location", location),))
    return error_response(404, "Not Found")


def _refusal(request: Request, token: str | None) -> Response | None:
    authorization = request.headers.get("authorization")
    if token is None or authorization == f"Bearer {token}":
        return None
    if authorization is None:
        return error_response(401, "Not authenticated", (("www-authenticate", "Bearer"),))
    return error_response(403, "Invalid token")


def _parse_bounds(endpoint: str, parameters: dict[str, str]) -> PageRequest | Response:
    page, page_errors = _whole_number(parameters, "page", default=1, largest=None)
    size, size_errors = _whole_number(parameters, "size", default=DEFAULT_SIZE, largest=LARGEST_SIZE)
    errors = page_errors + size_errors
    return json_response(422, {"detail": errors}) if errors else PageRequest(endpoint, page, size)


def _whole_number(
    parameters: dict[str, str], name: str, default: int, largest: int | None
) -> tuple[int, list[dict[str, Any]]]:
    """The parameter's value and its validation errors, in the words of FastAPI."""
    text = parameters.get(name)
    if text is None:
        return default, []
    if not re.fullmatch(r"[+-]?[0-9]{1,4000}", text):
        message = "Input should be a valid integer, unable to parse string as an integer"
        return default, [{"type": "int_parsing", "loc": ["query", name], "msg": message, "input": text}]
    if int(text) < 1:
        return default, [_out_of_bounds(name, text, "greater_than_equal", "greater than or equal to", {"ge": 1})]
    if largest is not None and int(text) > largest:
        return default, [_out_of_bounds(name, text, "less_than_equal", "less than or equal to", {"le": largest})]
    return int(text), []


def _out_of_bounds(name: str, text: str, kind: str, words: str, bound: dict[str, int]) -> dict[str, Any]:
    limit = next(iter(bound.values()))
    return {
        "type": kind,
        "loc": ["query", name],
        "msg": f"Input should be {words} {limit}",
        "input": text,
        "ctx": bound,
    }


def envelope(endpoint_rows: EndpointRows, page_request: PageRequest) -> dict[str, Any]:
    """The envelope of the requested page. Past the end it has no items."""
    start = (page_request.page - 1) * page_request.size
    return {
        "items": endpoint_rows.rows(start, start + page_request.size) if start < endpoint_rows.total else [],
        "total": endpoint_rows.total,
        "page": page_request.page,
        "size": page_request.size,
        "pages": -(-endpoint_rows.total // page_request.size),
    }


def encode(page: Any) -> bytes:
    """Compact JSON. msgspec rejects some malformed rows; the json module encodes those."""
    try:
        return msgspec.json.encode(page)
    except (UnicodeEncodeError, OverflowError):
        return json.dumps(page, separators=(",", ":"), default=lambda moment: moment.isoformat()).encode()
