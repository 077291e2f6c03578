"""Load on an HTTP server of this machine, over kept-open bare sockets: the client shares the server's cores."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"
_OK = b"HTTP/1.1 200 "


class LoadFailed(RuntimeError):
    """A response that is not 200, or a closed connection."""


@dataclass(frozen=True)
class LoadResult:
    """Responses a second, and the seconds of each response, sorted."""

    per_second: float
    seconds: Sequence[float]

    def percentile(self, percent: float) -> float:
        """The seconds within which so many per cent were answered."""
        return self.seconds[min(len(self.seconds) - 1, int(len(self.seconds) * percent / 100))]


def send_at_full_speed(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> LoadResult:
    """Each connection sends its next request as soon as it has a response. Raises LoadFailed."""

    def due_times(started: float) -> Iterator[float]:
        while (now := time.perf_counter()) < started + seconds:
            yield now

    return asyncio.run(_send(port, requests, connections, due_times))


def send_at_rate(port: int, requests: Sequence[bytes], connections: int, seconds: float, rate: float) -> LoadResult:
    """Send so many requests a second, evenly spaced. Seconds count from when a request was due. Raises LoadFailed."""

    def due_times(started: float) -> Iterator[float]:
        return (started + number / rate for number in range(int(seconds * rate)))

    return asyncio.run(_send(port, requests, connections, due_times))


async def _send(
    port: int, requests: Sequence[bytes], connections: int, due_times: Callable[[float], Iterator[float]]
) -> LoadResult:
    loop, seconds = asyncio.get_running_loop(), list[float]()
    pool = [(await loop.create_connection(_Connection, "127.0.0.1", port))[1] for _ in range(connections)]
    started = time.perf_counter()
    shared_times = due_times(started)

    async def send_when_due(connection: _Connection) -> None:
        for due in shared_times:
            while (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            await connection.send(random.choice(requests))
            seconds.append(time.perf_counter() - due)

    try:
        await asyncio.gather(*map(send_when_due, pool))
        spent = time.perf_counter() - started
    finally:
        for connection in pool:
            connection.close()
    return LoadResult(len(seconds) / spent, sorted(seconds))


class _Connection(asyncio.Protocol):
    """Sends one request at a time."""

    _response: asyncio.Future[None] | None = None
    _received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def send(self, request: bytes) -> asyncio.Future[None]:
        """Send a request. The future is done when the whole response has arrived."""
        self._response = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._response

    def close(self) -> None:
        self._response = None
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(_END_OF_HEAD)
        if end < 0:
            return
        start = self._received.find(_LENGTH) + len(_LENGTH)
        length = int(self._received[start : self._received.index(b"\r", start)])
        if len(self._received) < end + len(_END_OF_HEAD) + length:
            return
        response, self._received = self._received, b""
        ok = response.startswith(_OK)
        self._finish(None if ok else LoadFailed(response[:100].decode(errors="replace")))

    def connection_lost(self, error: Exception | None) -> None:
        self._finish(LoadFailed(f"the connection was closed: {error}"))

    def _finish(self, error: LoadFailed | None) -> None:
        if self._response is not None and not self._response.done():
            if error:
                self._response.set_exception(error)
            else:
                self._response.set_result(None)
