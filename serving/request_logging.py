"""Log each request as a line of JSON, and count it for Prometheus."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import summarize_defect
from serving.metrics import ServingMetrics
from serving.problems import DEFECT, Problem, problem_response
from serving.request_context import start_request_context

UNKNOWN_ROUTE = "unknown"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

requests_log = logging.getLogger("serving.requests")


class RequestLoggingMiddleware:
    """Middleware that logs and counts each request, and answers an unhandled exception without its details."""

    def __init__(self, app: ASGIApp, metrics: ServingMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = start_request_context(scope)
        start = time.perf_counter()
        status = 0

        async def send_and_record_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_record_status)
        except Exception as error:
            context.why = summarize_defect(error)
            if not status:
                await problem_response(Problem(DEFECT), scope)(scope, receive, send_and_record_status)
        finally:
            seconds = time.perf_counter() - start
            route = getattr(scope.get("route"), "path", UNKNOWN_ROUTE)
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.count(route, method, status, seconds)
            line: dict[str, Any] = {
                "route": route,
                "method": method,
                "status": status,
                "ms": round(seconds * 1000, 2),
                "key_id": context.key_id,
            }
            if context.problem:
                line |= {"problem": context.problem, "instance": context.instance, "why": context.why}
            requests_log.info("request", extra={"line": line})


class JsonFormatter(logging.Formatter):
    """One JSON object per line. Exceptions appear with their class and place, never with their text."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {"at": self._at(record), "level": record.levelname.lower(), "from": record.name}
        request = getattr(record, "line", None)
        line |= request if request is not None else {"message": record.getMessage()}
        if record.exc_info and record.exc_info[1] is not None:
            line["why"] = summarize_defect(record.exc_info[1])
        return orjson.dumps(line, default=str).decode()

    @staticmethod
    def _at(record: logging.LogRecord) -> str:
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03}Z"


def log_to_stdout() -> None:
    """Write all log records of this process to stdout as lines of JSON."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("psycopg.pool").setLevel(
        logging.ERROR
    )  # failed attempts are already in the log lines of requests
