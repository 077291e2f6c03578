"""HTTP requests, responses, and delivery modes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote

LONGEST_HEAD = 65_536
LONGEST_BODY = 16_777_216


class BadRequest(ValueError):
    """The server cannot parse the request. The connection must close."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Request:
    """An HTTP request. Header names are in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool

    @property
    def parameters(self) -> dict[str, str]:
        """The query parameters. If a name repeats, the last value counts."""
        return dict(parse_qsl(self.query, keep_blank_values=True))


@dataclass(frozen=True)
class Delivery:
    """How a response reaches the client, after `delay` seconds.

    Modes: "whole"; "short" (the body stops half-way and the connection closes); "reset" (the same with a TCP reset);
    "hang" (no response); "drip" (byte by byte, `pause` seconds apart).
    """

    mode: str = "whole"
    delay: float = 0.0
    pause: float = 0.0


@dataclass(frozen=True)
class Response:
    """An HTTP response. `body` is complete even if the delivery truncates it."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    delivery: Delivery = field(default_factory=Delivery)

    def head(self, keep_alive: bool) -> bytes:
        """The status line, the headers and the blank line after them."""
        lines = [
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}",
            f"content-type: {self.content_type}",
            f"content-length: {len(self.body)}",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        if not keep_alive:
            lines.append("connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def json_response(status: int, content: Any, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """A response with a JSON body."""
    return Response(status, json.dumps(content, separators=(",", ":")).encode(), headers=headers)


def error_response(status: int, text: str, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """An error in the form of the real API."""
    return json_response(status, {"detail": text}, headers)


def take_request(received: bytearray) -> Request | None:
    """Remove the first complete request from the received bytes; None if it is still incomplete."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        if len(received) > LONGEST_HEAD:
            raise BadRequest(431, "the request's head is too long")
        return None
    first, *lines = received[:end].decode("latin-1").split("\r\n")
    headers = dict(_header(line) for line in lines)
    length = _body_length(headers)
    if len(received) < end + 4 + length:
        return None
    body = bytes(received[end + 4 : end + 4 + length])
    del received[: end + 4 + length]
    return _request(first, headers, body)


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise BadRequest(400, "a header without a colon")
    return name.lower(), value.strip()


def _body_length(headers: dict[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise BadRequest(411, "a body needs a Content-Length")
    text = headers.get("content-length", "0")
    if not text.isdecimal() or int(text) > LONGEST_BODY:
        raise BadRequest(400, "not a Content-Length this server takes")
    return int(text)


def _request(first: str, headers: dict[str, str], body: bytes) -> Request:
    parts = first.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise BadRequest(400, "not an HTTP/1.x request")
    method, target, version = parts
    path, _, query = target.partition("?")
    requested = headers.get("connection", "").lower()
    keep_alive = requested == "keep-alive" if version == "HTTP/1.0" else requested != "close"
    return Request(method, unquote(path), query, headers, body, keep_alive)
