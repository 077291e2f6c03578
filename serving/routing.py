"""Shared by all routes: authorization before parsing, query parameters, and responses with an ETag."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
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
from serving.problems import INVALID, Problem
from serving.recommendation_query import LimitQuery
from serving.session_scorer import SessionScorer

JSON = "application/json"
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
                    _refuse_unknown(request.scope["query_string"], parameters)
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
        query = self._cached.get(request["query_string"])
        if query is None:
            values: dict[str, Any] = {}
            for name, value in parse_qsl(request["query_string"].decode("latin-1"), keep_blank_values=True):
                if name in _LISTS:
                    values.setdefault(name, []).append(value)
                else:
                    values[name] = value
            try:
                query = self._query.model_validate(values)
            except ValidationError:
                return None
        return int(text), query


def _parameter_names(route: APIRoute) -> list[str]:
    names: list[str] = []
    for parameter in route.dependant.query_params:
        model = parameter.field_info.annotation
        is_model = isinstance(model, type) and issubclass(model, BaseModel)
        names += list(model.model_fields) if is_model else [parameter.alias]  # type: ignore[union-attr]
    return names


def _refuse_unknown(query: bytes, accepted_names: list[str]) -> None:
    """Raise Problem for a query parameter that the path does not have. It does not repeat the name, which is input."""
    if {name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)} <= set(accepted_names):
        return
    accepted = f"this path accepts {', '.join(accepted_names)}" if accepted_names else "this path accepts none"
    errors = [{"field": "query", "message": f"has an unknown parameter; {accepted}"}]
    raise Problem(INVALID, "errors lists each invalid field", errors=errors)


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
