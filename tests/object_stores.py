"""A local S3 server, and a link to it that can fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler
from typing import Literal
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import requests
from pydantic import SecretStr

from core.object_store import ObjectStore, ObjectStoreOptions
from tests.loopback_server import loopback_server

KEY, SECRET = "key-of-a-test", "secret-of-a-test"


@dataclass(frozen=True)
class Bucket:
    """An empty bucket of a test. `url` is the URL of the bucket, `endpoint` that of the server."""

    endpoint: str
    name: str

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    def store(self, path: str = "", endpoint: str = "", retry_seconds: float = 10) -> ObjectStore:
        """A store of this bucket."""
        options = ObjectStoreOptions(
            SecretStr(KEY),
            SecretStr(SECRET),
            region="us-east-1",
            endpoint=endpoint or self.endpoint,
            allow_http=True,
            read_seconds=5,
            retry_seconds=retry_seconds,
        )
        return ObjectStore(f"{self.url}/{path}", options)

    def set_environment(self, patch: pytest.MonkeyPatch, *settings: str, endpoint: str = "") -> None:
        """Let these settings, such as LANDING_URL, name a path of this bucket."""
        for name in settings:
            patch.setenv(name, f"{self.url}/{name.partition('_URL')[0].lower()}")
        patch.setenv("AWS_ACCESS_KEY_ID", KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", endpoint or self.endpoint)
        patch.setenv("AWS_ALLOW_HTTP", "true")


def create_bucket(endpoint: str) -> Bucket:
    """Create a bucket with a name of its own."""
    bucket = Bucket(endpoint, f"test-{uuid4().hex[:12]}")
    requests.put(f"{endpoint}/{bucket.name}", timeout=60).raise_for_status()
    return bucket


Treatment = Literal["answer", "refuse", "lose the answer"]


@dataclass
class UnreliableLink:
    """Forwards requests to an S3 server. `treatment` decides about each request by its method and path.

    A refused request does not reach the server. A lost answer does, and its connection is closed.
    """

    url: str = ""
    treatment: Callable[[str, str], Treatment] = lambda _method, _path: "answer"


@contextmanager
def unreliable_link(endpoint: str) -> Iterator[UnreliableLink]:
    """Run a link to an S3 server on a free port."""
    link = UnreliableLink()

    class LinkHandler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            treatment = link.treatment(self.command, self.path)
            self.close_connection = treatment != "answer"
            if treatment == "refuse":
                return
            connection = HTTPConnection(urlsplit(endpoint).netloc, timeout=30)
            connection.request(self.command, self.path, body, dict(self.headers))
            response = connection.getresponse()
            content = response.read()
            connection.close()
            if treatment == "answer":
                self.send_response(response.status)
                for name, value in response.getheaders():
                    if name.lower() not in ("connection", "content-length", "date", "server"):
                        self.send_header(name, value)
                length = response.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
                self.send_header("Content-Length", length or "0")
                self.end_headers()
                self.wfile.write(content)

        do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with loopback_server(LinkHandler) as link.url:
        yield link
