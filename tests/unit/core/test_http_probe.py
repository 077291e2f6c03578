from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from core.http_probe import probe_failure
from core.prefect_client import PrefectClient


class _Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/garbage":
            self.wfile.write(b"garbage\r\n\r\n")
            return
        self.send_response(200 if self.path == "/health" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        authorized = self.headers.get("Authorization") == "Basic dXNlcjpww6Rzcw=="  # user:päss
        body = b'{"made": true}' if authorized else b"{}"
        self.send_response(200 if authorized else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Server) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_probe_says_why_an_address_does_not_answer(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert probe_failure(f"{url}/health", 5) is None
    assert "404" in str(probe_failure(f"{url}/nothing", 5))
    assert "refused" in str(probe_failure("http://127.0.0.1:9", 5))
    assert "garbage" in str(probe_failure(f"{url}/garbage", 5))
    assert probe_failure("no address", 5)
    assert probe_failure("http://h:80 80/", 5)


def test_a_probe_starts_fast() -> None:
    code = "import sys, core.http_probe; print({'requests', 'pydantic', 'prefect'} & sys.modules.keys())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


def test_the_client_logs_in_and_reads_the_response(url: str) -> None:
    assert PrefectClient(f"{url}/", "user:päss").ask("POST", "automations/", {}) == {"made": True}
    assert PrefectClient(url).ask("GET", "health") is None
    with pytest.raises(OSError, match="401"):
        PrefectClient(url, "user:wrong").ask("POST", "automations/", {})
