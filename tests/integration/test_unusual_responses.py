"""Unusual responses of the source API: each is read correctly or refused with a clear reason; no row is lost."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from flows import ingest_tasks
from flows.ingest import main
from tests.conftest import Query

pytestmark = pytest.mark.timeout(60)

DAY = "2026-11-22"
ROWS = [
    {
        "id": number,
        "name": f"Song {number}",
        "artist": "Ünïcode",
        "songwriters": "S",
        "duration": "03:05",
        "genres": "calm",
        "album": "A",
        "created_at": "2026-11-01T00:00:00.000001",
        "updated_at": "2026-11-20T00:00:00",
    }
    for number in range(1, 251)
]

Response = tuple[int, dict[str, str], bytes]
Responder = Callable[[int, int], Response]


def envelope(page: int, size: int, **fields: Any) -> dict[str, Any]:
    items = ROWS[(page - 1) * size : page * size]
    return {"items": items, "total": len(ROWS), "page": page, "size": size, "pages": -(-len(ROWS) // size)} | fields


def as_json(content: Any) -> Response:
    return 200, {}, json.dumps(content, ensure_ascii=False).encode()


def without(content: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key != name}


def gzipped(page: int, size: int) -> Response:
    return 200, {"Content-Encoding": "gzip"}, gzip.compress(as_json(envelope(page, size))[2])


def half_gzipped(page: int, size: int) -> Response:
    _, headers, body = gzipped(page, size)
    return 200, headers, body[: len(body) // 2]


ACCEPTED: dict[str, Responder] = {
    "gzip": gzipped,
    "pretty-printed": lambda page, size: (200, {}, json.dumps(envelope(page, size), indent=2).encode()),
    "Windows line ends": lambda p, s: (200, {}, json.dumps(envelope(p, s), indent=1).replace("\n", "\r\n").encode()),
    "a byte order mark": lambda page, size: (200, {}, b"\xef\xbb\xbf" + as_json(envelope(page, size))[2]),
    "other size, stated in the envelope": lambda page, _: as_json(envelope(page, 25)),
    "envelope without size": lambda page, size: as_json(without(envelope(page, size), "size")),
    "envelope with more fields": lambda page, size: as_json(envelope(page, size, links={"next": None})),
    "no content type": lambda page, size: (200, {"Content-Type": ""}, as_json(envelope(page, size))[2]),
}
NO_ENVELOPE = "without the documented envelope"
REFUSED: dict[str, tuple[Responder, str]] = {
    "total as text": (lambda p, s: as_json(envelope(p, s, total="250")), NO_ENVELOPE),
    "total is null": (lambda p, s: as_json(envelope(p, s, total=None)), NO_ENVELOPE),
    "total negative": (lambda p, s: as_json(envelope(p, s, total=-250)), "says total -250 and sends 50 rows"),
    "total one too many": (lambda p, s: as_json(envelope(p, s, total=251)), "says total 251 and sends 250 rows"),
    "total one too few": (lambda p, s: as_json(envelope(p, s, total=249)), "says total 249 and sends 250 rows"),
    "total far too large": (lambda p, s: as_json(envelope(p, s, total=10**13)), "says total 10000000000000 and"),
    "page 1 repeated": (lambda _, s: as_json(envelope(1, s)), "page 2 repeats page 1"),
    "other size, not stated": (lambda p, s: as_json(envelope(p, 25) | {"size": s}), "says total 250 and"),
    "null": (lambda p, s: as_json(None), NO_ENVELOPE),
    "a bare list": (lambda p, s: as_json(ROWS), NO_ENVELOPE),
    "items is an object": (lambda p, s: as_json(envelope(p, s, items={})), NO_ENVELOPE),
    "empty body": (lambda p, s: (200, {}, b""), "not whole JSON"),
    "no content": (lambda p, s: (204, {}, b""), "answered 204"),
    "half a gzip": (half_gzipped, "tried 2 times"),
    "not gzip at all": (lambda p, s: (200, {"Content-Encoding": "gzip"}, b"{}"), "tried 2 times"),
    "redirects in a circle": (lambda p, s: (307, {"Location": f"/tracks?page={p}&size={s}"}, b""), "invalid redirect"),
    "redirected to another protocol": (lambda p, s: (302, {"Location": "ftp://example.org/"}, b""), "invalid redirect"),
    "Retry-After: distant date": (
        lambda p, s: (503, {"Retry-After": "Fri, 31 Dec 2999 23:59:59 GMT"}, b""),
        "tried 1 times",
    ),
    "Retry-After: infinite": (lambda p, s: (429, {"Retry-After": "inf"}, b""), "tried 1 times"),
    "Retry-After: text": (lambda p, s: (429, {"Retry-After": "soon"}, b""), "tried 2 times"),
    "Retry-After: negative": (lambda p, s: (429, {"Retry-After": "-5"}, b""), "tried 2 times"),
    "Retry-After: nan": (lambda p, s: (429, {"Retry-After": "nan"}, b""), "tried 2 times"),
}


class StubApi:
    """An HTTP server whose responses a test defines."""

    def __init__(self) -> None:
        self.respond: Responder = lambda page, size: as_json(envelope(page, size))
        api = self

        class ResponseHandler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                status, headers, body = api.respond(int(query["page"][0]), int(query["size"][0]))
                self.send_response(status)
                headers = {"Content-Type": "application/json", "Content-Length": str(len(body))} | headers
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), ResponseHandler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture(scope="module")
def api() -> Iterator[StubApi]:
    """A running stub server."""
    stub = StubApi()
    thread = threading.Thread(target=stub.server.serve_forever, daemon=True)
    thread.start()
    yield stub
    stub.server.shutdown()
    stub.server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def quick(prefect_server: None, environment: Path, api: StubApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tries and short time-outs."""
    settings = {"FETCH_TRIES": "2", "READ_TIMEOUT_SECONDS": "1", "GIVE_UP_AFTER_SECONDS": "3", "FETCH_READS": "2"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MOOVITAMIX_API_URL", api.url)
    monkeypatch.setattr(ingest_tasks.land_pages, "retry_delay_seconds", 0.01)


def ingest_tracks() -> int:
    return main(["--day", DAY, "--endpoint", "tracks"])


@pytest.mark.parametrize("response", ACCEPTED)
def test_unusual_valid_response_is_read(response: str, api: StubApi, query: Query) -> None:
    api.respond = ACCEPTED[response]

    assert ingest_tracks() == 0

    assert query("select id, artist from warehouse.tracks order by id") == [(row["id"], row["artist"]) for row in ROWS]


@pytest.mark.parametrize("response", REFUSED)
def test_invalid_response_fails_with_a_reason(
    response: str, api: StubApi, query: Query, capfd: pytest.CaptureFixture[str]
) -> None:
    api.respond, words = REFUSED[response]

    assert ingest_tracks() == 1

    ((status, reason),) = query("select status, reason from ops.batches")
    assert status == "failed"
    assert reason.startswith(f"GET {api.url}/tracks")
    assert words in reason
    assert query("select count(*) from warehouse.tracks") == [(0,)]
    output = capfd.readouterr()
    assert "Traceback" not in output.out + output.err


def test_text_in_another_encoding_is_blocked(api: StubApi, query: Query) -> None:
    api.respond = lambda page, size: (200, {}, as_json(envelope(page, size))[2].decode().encode("latin-1"))

    assert ingest_tracks() == 1

    assert query("select status, reason from ops.batches") == [("blocked", "rejected share 100 % is above 1 %")]
    assert query("select distinct reason from ops.rejected_rows") == [("not readable as JSON text",)]


def test_empty_first_snapshot_publishes_nothing(api: StubApi, query: Query) -> None:
    api.respond = lambda page, size: as_json({"items": [], "total": 0, "page": page, "size": size, "pages": 0})

    code = ingest_tracks()

    ((status, landed, staged),) = query("select status, rows_landed, rows_staged from ops.batches")
    assert (landed, staged) == (0, 0)
    assert (code, status) in {(0, "unchanged"), (1, "blocked")}
