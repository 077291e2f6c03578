"""Middleware: HEAD answers like GET, without the body, at every address. Balancers and uptime monitors ask so."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadRequestMiddleware:
    """Lets the application answer HEAD as GET. Outside of it, the method stays HEAD: in the log and the metrics."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            scope["method"] = "HEAD"  # the server looks at it while it sends
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        # The same object, not a copy: the route and the note of the request are put into it.
        scope["method"] = "GET"
        try:
            await self._app(scope, receive, without_body)
        finally:
            scope["method"] = "HEAD"
