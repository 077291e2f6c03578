"""Shared by all routes: authorization before parsing, query parameters, and responses with an ETag."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import xxhash
from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.responses import Response
from starlette.types import Scope as RequestScope

from core.api_scopes import Scope
from core.clock import Clock
from core.errors import DatabaseError
from serving.access_control import AccessControl
from serving.database import Database
from serving.exposure_log import ExposureLog
from serving.health import ReadinessCheck
from serving.metrics import ServingMetrics
from serving.problems import UNSUPPORTED_BODY, Problem, invalid_request
from serving.recommendation_query import DEPRECATED_PARAMETERS, LimitQuery
from serving.session_scorer import SessionScorer

JSON = "application/json"
_JSON_TYPE = re.compile(rb"\s*application/([^\s/;,]+\+)?json\s*(;|$)", re.IGNORECASE)
_MAX_FAST_PATH_DIGITS = 18  # any number of 18 digits fits into 64 bits
_LISTS = frozenset({"exclude"})  # parameters that may be repeated

OutageResponse = Callable[[Request, DatabaseError], Response]


@dataclass(frozen=True)
class Dependencies:
    """The objects that routes use."""

    database: Database
    access_control: AccessControl
    metrics: ServingMetrics
    readiness_check: ReadinessCheck
    clock: Clock
    session_scorer: SessionScorer
    exposure_log: ExposureLog
    serves_fresh: bool = True
    recommends_played: bool = False


def scoped_route(
    access_control: AccessControl,
    scope: Scope,
    *,
    fast_path: type[LimitQuery] | None = None,
    outage_response: OutageResponse | None = None,
) -> type[APIRoute]:
    """Return a route class that authorizes the key for a scope before it reads the request.

    With `fast_path`, a valid request bypasses FastAPI's parsing, which takes half of the time; the endpoint takes the
    request, an id and this query. With `outage_response`, the key may be an HTTP Basic password, and this function
    answers when the database cannot verify the key.
    """
    parse = None if fast_path is None else _FastQueryParser(fast_path)

    class ScopedRoute(APIRoute):
        def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
            extra = {"x-scope": scope} | ({"x-browser": True} if outage_response else {})
            options["openapi_extra"] = (options.get("openapi_extra") or {}) | extra
            super().__init__(path, endpoint, **options)

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()
            parameters = _parameter_names(self)
            has_body = self.body_field is not None

            async def authorize_and_handle(request: Request) -> Response:
                try:
                    await access_control.authorize(request.scope, scope, browser=outage_response is not None)
                except DatabaseError as error:
                    if outage_response is None:
                        raise
                    return outage_response(request, error)
                arguments = parse(request.scope) if parse is not None else None
                if arguments is not None:
                    response: Response = await self.endpoint(request, *arguments)
                    return response
                if request.scope["query_string"] and self.path.startswith("/v1/"):
                    _check_query(request.scope["query_string"], parameters)
                if has_body:
                    _check_body_headers(request.scope["headers"])
                return await handle(request)

            return authorize_and_handle

    return ScopedRoute


class _FastQueryParser:
    """Parses an id in the path and a query; None for a request that FastAPI must parse or refuse."""

    def __init__(self, query: type[LimitQuery]) -> None:
        self._query = query
        # The common queries are validated once.
        self._cached = {b"": query()} | {
            f"{name}={count}".encode(): query.model_validate({name: count})
            for name in ("limit", "n")
            for count in range(1, 51)
        }

    def __call__(self, request: RequestScope) -> tuple[int, LimitQuery] | None:
        (text,) = request["path_params"].values()
        if not (text.isascii() and text.isdigit() and len(text) <= _MAX_FAST_PATH_DIGITS):
            return None
        query = self._cached.get(request["query_string"]) or self._parse(request["query_string"])
        return None if query is None else (int(text), query)

    def _parse(self, query: bytes) -> LimitQuery | None:
        values: dict[str, Any] = {}
        try:
            for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="strict"):
                if name in _LISTS:
                    values.setdefault(name, []).append(value)
                elif name in values:
                    return None
                else:
                    values[name] = value
            return self._query.model_validate(values)
        except (ValidationError, UnicodeDecodeError):
            return None


def _parameter_names(route: APIRoute) -> list[str]:
    names: list[str] = []
    for parameter in route.dependant.query_params:
        model = parameter.field_info.annotation
        is_model = isinstance(model, type) and issubclass(model, BaseModel)
        names += list(model.model_fields) if is_model else [parameter.alias]  # type: ignore[union-attr]
    return names


def _check_query(query: bytes, accepted_names: list[str]) -> None:
    """Raise Problem for a parameter that the path does not have, that is sent twice, or that is not UTF-8."""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="surrogateescape")
    counts = Counter(name for name, _ in pairs)
    current = ", ".join(name for name in accepted_names if name not in DEPRECATED_PARAMETERS)
    unknown = f"is not a known parameter; this path accepts {current or 'none'}"
    messages = {name: unknown for name in counts if name not in accepted_names}
    repeated = [name for name in accepted_names if name not in _LISTS and counts[name] > 1]
    messages |= dict.fromkeys(repeated, "is given more than once")
    messages |= {name: "must be UTF-8" for name, value in pairs if name in accepted_names and not _is_utf8(value)}
    if messages:
        raise invalid_request(
            [{"type": "value_error", "loc": ("query", name), "msg": message} for name, message in messages.items()]
        )


def _is_utf8(text: str) -> bool:
    """Whether text has no bytes that `surrogateescape` kept."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_body_headers(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raise Problem for a body that is not JSON by its Content-Type, or that is compressed."""
    content_type = b""
    for name, value in headers:
        if name == b"content-type":
            content_type = content_type or value
        elif name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise Problem(UNSUPPORTED_BODY, "send the body without Content-Encoding", {"Accept-Encoding": "identity"})
    if not _JSON_TYPE.match(content_type):
        raise Problem(UNSUPPORTED_BODY)


def cacheable_response(request: Request, body: bytes) -> Response:
    """The body with an ETag, or 304 if the client has it. Clients ask each time, so changes take effect at once."""
    tag = f'"{xxhash.xxh3_64_hexdigest(body)}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    for name, value in request.scope["headers"]:
        if name == b"if-none-match" and _matches(value.decode("latin-1"), tag):
            return Response(None, 304, headers)
    return Response(body, media_type=JSON, headers=headers)


def _matches(sent: str, tag: str) -> bool:
    """Whether If-None-Match names the tag. Tags are compared weakly, as RFC 9110 says for this header."""
    return sent.strip() == "*" or tag in {part.strip().removeprefix("W/") for part in sent.split(",")}
