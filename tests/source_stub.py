"""A source whose lists a test writes itself, row by row, and may change while they are read."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Row = dict[str, Any]
TIME = "2026-11-01T00:00:00.000001"


def track(number: int, **other: Any) -> Row:
    """A track that keeps the contract."""
    texts = {"name": f"Song {number}", "artist": "A", "songwriters": "S", "genres": "calm", "album": "B"}
    return {"id": number, **texts, "duration": "03:05", "created_at": TIME, "updated_at": TIME} | other


def user(number: int, **other: Any) -> Row:
    """A user who keeps the contract."""
    texts = {"first_name": "Ada", "last_name": "L", "email": f"ada{number}@example.com", "gender": "Female"}
    return {"id": number, **texts, "favorite_genres": "Jazz", "created_at": TIME, "updated_at": TIME} | other


def session(user_id: int, items: list[int] | None, **other: Any) -> Row:
    """A session that keeps the contract."""
    return {"user_id": user_id, "items": items, "created_at": TIME, "updated_at": TIME} | other


@dataclass
class SourceStub:
    """The lists, the pages asked for, and what is to happen before the nth request."""

    tracks: list[Row] = field(default_factory=list)
    users: list[Row] = field(default_factory=list)
    listen_history: list[Row] = field(default_factory=list)
    asked: list[tuple[str, int]] = field(default_factory=list)
    before_request: Callable[[int], None] = lambda _: None
    broken: set[tuple[str, int]] = field(default_factory=set)
    url: str = ""

    def answer(self, endpoint: str, page: int, size: int) -> tuple[int, bytes]:
        """One page of a list as it is now."""
        self.asked.append((endpoint, page))
        self.before_request(len(self.asked))
        if (endpoint, page) in self.broken:
            return 500, b""
        rows = getattr(self, endpoint)
        content = {"items": rows[(page - 1) * size : page * size], "total": len(rows), "page": page, "size": size}
        return 200, json.dumps(content | {"pages": -(-len(rows) // size)}).encode()


@contextmanager
def serve_source(source: SourceStub) -> Iterator[SourceStub]:
    """Serve the lists on a port of their own."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            asked = parse_qs(parts.query)
            with lock:
                status, body = source.answer(parts.path.strip("/"), int(asked["page"][0]), int(asked["size"][0]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    source.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield source
    finally:
        server.shutdown()
        server.server_close()
