"""Middleware that limits the size and the duration of request bodies."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.problems import BODY_TOO_LARGE, BODY_TOO_SLOW, Problem, problem_response

_TIMEOUT_SECONDS = 10


class BodyLimitMiddleware:
    """Refuse a body of more than `max_bytes` bytes, by its Content-Length or while it is received."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        for name, value in scope["headers"]:
            if name == b"content-length" and (len(value) > 18 or int(value) > self._max_bytes):
                await problem_response(self._too_large(), scope)(scope, receive, send)
                return
        size = 0

        async def limited() -> Message:
            nonlocal size
            try:
                async with asyncio.timeout(_TIMEOUT_SECONDS):
                    message = await receive()
            except TimeoutError:
                raise Problem(BODY_TOO_SLOW, f"send it within {_TIMEOUT_SECONDS} seconds") from None
            size += len(message.get("body", b""))
            if size > self._max_bytes:
                raise self._too_large()
            return message

        await self._app(scope, limited, send)

    def _too_large(self) -> Problem:
        return Problem(BODY_TOO_LARGE, f"at most {self._max_bytes:,} bytes")
