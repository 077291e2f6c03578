"""Request logging, metrics, and the response to a defect."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from serving.body_limit import BodyLimitMiddleware
from serving.metrics import ServingMetrics
from serving.problems import DATABASE_UNAVAILABLE, EXCEPTION_HANDLERS, Problem
from serving.request_logging import JsonFormatter, RequestLoggingMiddleware

SECRET = "secret of Ada"


async def broken(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError(SECRET)


def ask(app: Any, method: str = "GET", **options: Any) -> httpx.Response:
    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, "/x", **options)

    return asyncio.run(run())


def test_defect_response_hides_details_and_the_log_has_them(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "serving.requests")
    metrics = ServingMetrics()
    answer = ask(RequestLoggingMiddleware(broken, metrics), "STRANGE")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:moovitamix:problem:defect"
    (record,) = [record for record in caplog.records if record.name == "serving.requests"]
    line = json.loads(JsonFormatter().format(record))
    assert {name: line[name] for name in ("route", "method", "status", "key_id", "problem")} == {
        "route": "unknown",
        "method": "other",
        "status": 500,
        "key_id": None,
        "problem": "defect",
    }
    assert line["instance"] == answer.json()["instance"]
    assert line["why"].startswith("unexpected RuntimeError")
    assert SECRET not in answer.text + json.dumps(line)
    assert 'requests_total{method="other",route="unknown",status="500"} 1.0' in metrics.text().decode()


def test_log_record_is_one_line_without_exception_text() -> None:
    try:
        raise RuntimeError(SECRET)
    except RuntimeError as error:
        record = logging.LogRecord("x", logging.ERROR, "", 1, "it %s\nbroke", ("all",), (type(error), error, None))
    text = JsonFormatter().format(record)
    assert "\n" not in text
    assert SECRET not in text
    assert json.loads(text)["message"] == "it all\nbroke"


def test_missing_body_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.body_limit._TIMEOUT_SECONDS", 0.01)

    async def reading(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    async def receive_nothing() -> Any:
        await asyncio.sleep(60)

    async def run() -> None:
        scope = {"type": "http", "headers": []}
        with pytest.raises(Problem) as raised:
            await BodyLimitMiddleware(reading, 100)(scope, receive_nothing, receive_nothing)  # type: ignore[arg-type]
        assert raised.value.status_code == 408

    asyncio.run(run())


def test_every_error_that_can_reach_a_client_has_a_handler() -> None:
    assert {kind.__name__ for kind in EXCEPTION_HANDLERS if isinstance(kind, type)} == {
        "HTTPException",
        "RequestValidationError",
        "DatabaseError",
    }
    assert DATABASE_UNAVAILABLE.status == 503
