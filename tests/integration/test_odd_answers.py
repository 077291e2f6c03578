"""Answers that no API should give: each is read as what it is or refused in plain words, and none loses rows unseen."""

from __future__ import annotations

import gzip
import json
import threading
import time
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

Reply = tuple[int, dict[str, str], bytes]
Answer = Callable[[int, int], Reply]


def envelope(page: int, size: int, **other: Any) -> dict[str, Any]:
    items = ROWS[(page - 1) * size : page * size]
    return {"items": items, "total": len(ROWS), "page": page, "size": size, "pages": -(-len(ROWS) // size)} | other


def as_json(content: Any) -> Reply:
    return 200, {}, json.dumps(content, ensure_ascii=False).encode()


def without(content: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key != name}


def gzipped(page: int, size: int) -> Reply:
    return 200, {"Content-Encoding": "gzip"}, gzip.compress(as_json(envelope(page, size))[2])


def half_gzipped(page: int, size: int) -> Reply:
    _, headers, body = gzipped(page, size)
    return 200, headers, body[: len(body) // 2]


READ: dict[str, Answer] = {
    "gzip": gzipped,
    "pretty-printed": lambda page, size: (200, {}, json.dumps(envelope(page, size), indent=2).encode()),
    "Windows line ends": lambda p, s: (200, {}, json.dumps(envelope(p, s), indent=1).replace("\n", "\r\n").encode()),
    "a byte order mark": lambda page, size: (200, {}, b"\xef\xbb\xbf" + as_json(envelope(page, size))[2]),
    "the size is ignored, and said so": lambda page, _: as_json(envelope(page, 25)),
    "the envelope has no size": lambda page, size: as_json(without(envelope(page, size), "size")),
    "the envelope has more fields": lambda page, size: as_json(envelope(page, size, links={"next": None})),
    "no content type": lambda page, size: (200, {"Content-Type": ""}, as_json(envelope(page, size))[2]),
}
NO_ENVELOPE = "without the documented envelope"
REFUSED: dict[str, tuple[Answer, str]] = {
    "total as text": (lambda p, s: as_json(envelope(p, s, total="250")), NO_ENVELOPE),
    "total is null": (lambda p, s: as_json(envelope(p, s, total=None)), NO_ENVELOPE),
    "total negative": (lambda p, s: as_json(envelope(p, s, total=-250)), "says total -250 and sends 50 rows"),
    "total one too many": (lambda p, s: as_json(envelope(p, s, total=251)), "says total 251 and sends 250 rows"),
    "total one too few": (lambda p, s: as_json(envelope(p, s, total=249)), "says total 249 and sends 250 rows"),
    "total beyond all reason": (lambda p, s: as_json(envelope(p, s, total=10**13)), "says total 10000000000000 and"),
    "page 1 again and again": (lambda _, s: as_json(envelope(1, s)), "page 2 repeats page 1"),
    "the size is ignored, and not said": (lambda p, s: as_json(envelope(p, 25) | {"size": s}), "says total 250 and"),
    "null": (lambda p, s: as_json(None), NO_ENVELOPE),
    "a bare list": (lambda p, s: as_json(ROWS), NO_ENVELOPE),
    "items is an object": (lambda p, s: as_json(envelope(p, s, items={})), NO_ENVELOPE),
    "nothing": (lambda p, s: (200, {}, b""), "not whole JSON"),
    "no content": (lambda p, s: (204, {}, b""), "answered 204"),
    "half a gzip": (half_gzipped, "tried 2 times"),
    "not gzip at all": (lambda p, s: (200, {"Content-Encoding": "gzip"}, b"{}"), "tried 2 times"),
    "redirects in a circle": (lambda p, s: (307, {"Location": f"/tracks?page={p}&size={s}"}, b""), "redirected"),
    "redirected to another protocol": (lambda p, s: (302, {"Location": "ftp://example.org/"}, b""), "redirected"),
    "later, much later": (lambda p, s: (503, {"Retry-After": "Fri, 31 Dec 2999 23:59:59 GMT"}, b""), "tried 1 times"),
    "later, for ever": (lambda p, s: (429, {"Retry-After": "inf"}, b""), "tried 1 times"),
    "later, no number": (lambda p, s: (429, {"Retry-After": "soon"}, b""), "tried 2 times"),
    "later, in the past": (lambda p, s: (429, {"Retry-After": "-5"}, b""), "tried 2 times"),
    "later, not a number": (lambda p, s: (429, {"Retry-After": "nan"}, b""), "tried 2 times"),
}


class OddApi:
    """A server that answers as it is told."""

    def __init__(self) -> None:
        self.answer: Answer = lambda page, size: as_json(envelope(page, size))
        odd = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                asked = parse_qs(urlsplit(self.path).query)
                status, headers, body = odd.answer(int(asked["page"][0]), int(asked["size"][0]))
                self.send_response(status)
                headers = {"Content-Type": "application/json", "Content-Length": str(len(body))} | headers
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture(scope="module")
def odd() -> Iterator[OddApi]:
    """A running server of this kind."""
    api = OddApi()
    thread = threading.Thread(target=api.server.serve_forever, daemon=True)
    thread.start()
    yield api
    api.server.shutdown()
    api.server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def quick(prefect_server: None, environment: Path, odd: OddApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tries, short time-outs."""
    settings = {"FETCH_TRIES": "2", "READ_TIMEOUT_SECONDS": "1", "GIVE_UP_AFTER_SECONDS": "3", "FETCH_READS": "2"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MOOVITAMIX_API_URL", odd.url)
    monkeypatch.setattr(ingest_tasks.land_pages, "retry_delay_seconds", 0.01)


def ingest_tracks() -> int:
    return main(["--day", DAY, "--endpoint", "tracks"])


@pytest.mark.parametrize("answer", READ)
def test_unusual_and_right(answer: str, odd: OddApi, query: Query) -> None:
    odd.answer = READ[answer]

    assert ingest_tracks() == 0

    assert query("select id, artist from warehouse.tracks order by id") == [(row["id"], row["artist"]) for row in ROWS]


@pytest.mark.parametrize("answer", REFUSED)
def test_wrong(answer: str, odd: OddApi, query: Query, capfd: pytest.CaptureFixture[str]) -> None:
    odd.answer, words = REFUSED[answer]
    began = time.monotonic()

    assert ingest_tracks() == 1

    assert time.monotonic() - began < 20
    ((status, reason),) = query("select status, reason from ops.batches")
    assert status == "failed"
    assert reason.startswith(f"GET {odd.url}/tracks")
    assert words in reason
    assert query("select count(*) from warehouse.tracks") == [(0,)]
    told = capfd.readouterr()
    assert "Traceback" not in told.out + told.err


def test_text_in_another_encoding_is_blocked(odd: OddApi, query: Query) -> None:
    odd.answer = lambda page, size: (200, {}, as_json(envelope(page, size))[2].decode().encode("latin-1"))

    assert ingest_tracks() == 1

    assert query("select status, reason from ops.batches") == [("blocked", "rejected share 100 % is above 1 %")]
    assert query("select distinct reason from ops.rejected_rows") == [("not readable as JSON text",)]


def test_a_list_without_rows_on_the_first_day_publishes_nothing(odd: OddApi, query: Query) -> None:
    odd.answer = lambda page, size: as_json({"items": [], "total": 0, "page": page, "size": size, "pages": 0})

    code = ingest_tracks()

    ((status, landed, staged),) = query("select status, rows_landed, rows_staged from ops.batches")
    assert (landed, staged) == (0, 0)
    assert (code, status) in {(0, "unchanged"), (1, "blocked")}
