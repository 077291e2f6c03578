"""A proxy of a corporate network: it notes what goes through it, and alone knows where `source.example` is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import requests

SOURCE = "source.example"


@dataclass
class CorporateProxy:
    """`hosts` are those that it was asked for, one entry a request. `status` makes it refuse with that answer."""

    source_url: str
    url: str = ""
    status: int | None = None
    hosts: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0


@contextmanager
def corporate_proxy(source_url: str) -> Iterator[CorporateProxy]:
    """A running proxy that passes requests for `source.example` on to a server of this machine, and no others."""
    proxy = CorporateProxy(source_url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            proxy.hosts.append(asked.hostname or self.path)
            if proxy.status is not None or asked.hostname != SOURCE:
                self._answer(proxy.status or 502, b"")
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() == "authorization"}
            with requests.Session() as session:
                session.trust_env = False
                answer = session.get(f"{proxy.source_url}{asked.path}?{asked.query}", headers=headers, timeout=30)
            self._answer(answer.status_code, answer.content)

        do_POST = do_CONNECT = do_PUT = do_DELETE = do_GET

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
