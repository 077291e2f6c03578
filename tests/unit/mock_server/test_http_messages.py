"""Parsing of HTTP requests from a stream of bytes."""

import pytest

from mock_server.http_messages import BadRequest, take_request

GET = b"GET /tracks?page=2 HTTP/1.1\r\nHost: here\r\n\r\n"
PUT = b"PUT /_control/faults HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"


def test_pipelined_requests_are_read_in_order() -> None:
    received = bytearray(GET + PUT + GET)
    first, second, third = (take_request(received) for _ in range(3))
    assert first and second and third
    assert (first.path, first.parameters, first.headers) == ("/tracks", {"page": "2"}, {"host": "here"})
    assert (second.method, second.body) == ("PUT", b"{}")
    assert third == first
    assert not received


@pytest.mark.parametrize("length", range(len(PUT)))
def test_incomplete_request_stays_in_the_buffer(length: int) -> None:
    received = bytearray(PUT[:length])
    assert take_request(received) is None
    assert received == PUT[:length]


@pytest.mark.parametrize(
    ("version", "connection", "keep_alive"),
    [("1.1", None, True), ("1.1", "close", False), ("1.0", None, False), ("1.0", "keep-alive", True)],
)
def test_keep_alive_depends_on_version_and_header(version: str, connection: str | None, keep_alive: bool) -> None:
    header = f"Connection: {connection}\r\n" if connection else ""
    request = take_request(bytearray(f"GET / HTTP/{version}\r\n{header}\r\n".encode()))
    assert request and request.keep_alive is keep_alive


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"rubbish\r\n\r\n",
        b"GET / HTTP/2\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"PUT / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"x" * 100_000,
    ],
)
def test_invalid_request_is_refused(request_bytes: bytes) -> None:
    with pytest.raises(BadRequest):
        take_request(bytearray(request_bytes))
