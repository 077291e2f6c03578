"""Middleware that answers HEAD like GET, without the body. Load balancers and uptime monitors send HEAD."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadRequestMiddleware:
    """Pass HEAD to the application as GET. Outer middleware still sees HEAD in the log and the metrics."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            scope["method"] = "HEAD"  # the server reads the method while it sends
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        # Change the scope in place, because the route and the request context are stored in it.
        scope["method"] = "GET"
        try:
            await self._app(scope, receive, without_body)
        finally:
            scope["method"] = "HEAD"
