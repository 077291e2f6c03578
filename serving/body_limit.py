"""Middleware: bodies are small, and come in time."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.problems import BODY_TOO_LARGE, BODY_TOO_SLOW, Problem, problem_response

_SECONDS = 10


class BodyLimitMiddleware:
    """Refuses a body of more than `most` bytes: by its announced length, or when as much has come in."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        for name, value in scope["headers"]:
            if name == b"content-length" and (len(value) > 18 or int(value) > self._most):
                await problem_response(self._too_large(), scope)(scope, receive, send)
                return
        size = 0

        async def limited() -> Message:
            nonlocal size
            try:
                async with asyncio.timeout(_SECONDS):
                    message = await receive()
            except TimeoutError:
                raise Problem(BODY_TOO_SLOW, f"it must come within {_SECONDS} seconds") from None
            size += len(message.get("body", b""))
            if size > self._most:
                raise self._too_large()
            return message

        await self._app(scope, limited, send)

    def _too_large(self) -> Problem:
        return Problem(BODY_TOO_LARGE, f"at most {self._most} bytes")
