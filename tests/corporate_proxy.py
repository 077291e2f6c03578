"""A corporate proxy: it records the requested hosts, and only it can reach `source.example`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

import requests

from tests.loopback_server import loopback_server

SOURCE = "source.example"


@dataclass
class CorporateProxy:
    """`hosts` has the host of each request. If `status` is set, the proxy refuses every request with it."""

    source_url: str
    url: str = ""
    status: int | None = None
    hosts: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0


@contextmanager
def corporate_proxy(source_url: str) -> Iterator[CorporateProxy]:
    """Run a proxy that forwards requests for `source.example` to `source_url` and refuses all others."""
    proxy = CorporateProxy(source_url)

    class ProxyHandler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            target = urlsplit(self.path)
            proxy.hosts.append(target.hostname or self.path)
            if proxy.status is not None or target.hostname != SOURCE:
                self._respond(proxy.status or 502, b"")
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() == "authorization"}
            with requests.Session() as session:
                session.trust_env = False
                response = session.get(f"{proxy.source_url}{target.path}?{target.query}", headers=headers, timeout=30)
            self._respond(response.status_code, response.content)

        do_POST = do_CONNECT = do_PUT = do_DELETE = do_GET

        def _respond(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with loopback_server(ProxyHandler) as proxy.url:
        yield proxy
