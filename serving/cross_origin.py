"""Requests of browsers from other origins: which are allowed, and the problem of a refused preflight."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.problems import BAD_REQUEST, Problem, problem_response

METHODS = ("GET", "HEAD", "POST")
REQUEST_HEADERS = ("Authorization", "Content-Type", "If-None-Match", "X-API-Key")
_EXPLANATION = "this API refuses the origin, the method or a header of the preflight; /docs lists what is allowed"


class CrossOriginMiddleware(CORSMiddleware):
    """Starlette's middleware with the origins of SERVING_CORS_ORIGINS. A refused preflight gets problem details."""

    def __init__(self, app: ASGIApp, origins: list[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=["ETag", "RateLimit", "RateLimit-Policy", "Retry-After"],
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        return response if response.status_code < BAD_REQUEST.status else _RefusedPreflight(response)


class _RefusedPreflight(Response):
    """The problem details, with the CORS headers of the refused response."""

    def __init__(self, refused: Response) -> None:
        super().__init__()
        self._cors_headers = {name: value for name, value in refused.headers.items() if not name.startswith("content-")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = Problem(BAD_REQUEST, _EXPLANATION, self._cors_headers)
        await problem_response(problem, scope)(scope, receive, send)
