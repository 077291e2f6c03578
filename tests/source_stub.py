"""A source API whose rows a test defines. The test can change them between two requests."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.loopback_server import loopback_server

Row = dict[str, Any]
TIME = "2026-11-01T00:00:00.000001"


def track(number: int, **fields: Any) -> Row:
    """A valid track."""
    texts = {"name": f"Song {number}", "artist": "A", "songwriters": "S", "genres": "calm", "album": "B"}
    return {"id": number, **texts, "duration": "03:05", "created_at": TIME, "updated_at": TIME} | fields


def user(number: int, **fields: Any) -> Row:
    """A valid user."""
    texts = {"first_name": "Ada", "last_name": "L", "email": f"ada{number}@example.com", "gender": "Female"}
    return {"id": number, **texts, "favorite_genres": "Jazz", "created_at": TIME, "updated_at": TIME} | fields


def session(user_id: int, items: list[int] | None, **fields: Any) -> Row:
    """A valid session."""
    return {"user_id": user_id, "items": items, "created_at": TIME, "updated_at": TIME} | fields


@dataclass
class SourceStub:
    """The rows of each endpoint, the requested pages, and a hook that runs before the nth request."""

    tracks: list[Row] = field(default_factory=list)
    users: list[Row] = field(default_factory=list)
    listen_history: list[Row] = field(default_factory=list)
    requested_pages: list[tuple[str, int]] = field(default_factory=list)
    before_request: Callable[[int], None] = lambda _: None
    failing_pages: set[tuple[str, int]] = field(default_factory=set)
    url: str = ""

    def respond(self, endpoint: str, page: int, size: int) -> tuple[int, bytes]:
        """The status and body of one page."""
        self.requested_pages.append((endpoint, page))
        self.before_request(len(self.requested_pages))
        if (endpoint, page) in self.failing_pages:
            return 500, b""
        rows = getattr(self, endpoint)
        content = {"items": rows[(page - 1) * size : page * size], "total": len(rows), "page": page, "size": size}
        return 200, json.dumps(content | {"pages": -(-len(rows) // size)}).encode()


@contextmanager
def serve_source(source: SourceStub) -> Iterator[SourceStub]:
    """Run the source API on a free port."""
    lock = threading.Lock()

    class SourceHandler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = parse_qs(parts.query)
            with lock:
                status, body = source.respond(parts.path.strip("/"), int(query["page"][0]), int(query["size"][0]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with loopback_server(SourceHandler) as source.url:
        yield source
