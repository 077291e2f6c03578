"""Load on an HTTP server of this machine: bare sockets that are kept open, since what asks shares the cores."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"
_GOOD = b"HTTP/1.1 200 "


class LoadFailed(RuntimeError):
    """An answer that is not 200, or a connection that was closed."""


@dataclass(frozen=True)
class Load:
    """What came of it. Seconds are of each answer, sorted."""

    per_second: float
    seconds: Sequence[float]

    def percentile(self, percent: float) -> float:
        """Seconds within which so many per cent were answered."""
        return self.seconds[min(len(self.seconds) - 1, int(len(self.seconds) * percent / 100))]


def as_fast_as_it_goes(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Load:
    """Each connection asks again as soon as it is answered. Raises LoadFailed."""

    async def run() -> Load:
        taken: list[float] = []
        began = time.perf_counter()

        def answered(connection: _Connection) -> None:
            now = time.perf_counter()
            taken.append(now - connection.due)
            if now < began + seconds:
                connection.ask(random.choice(requests), now)
            else:
                connection.end()

        opened = await _open(port, connections, answered)
        began = time.perf_counter()
        for connection in opened:
            connection.ask(random.choice(requests), began)
        await asyncio.gather(*(connection.ended for connection in opened))
        return Load(len(taken) / (time.perf_counter() - began), sorted(taken))

    return asyncio.run(run())


def at_a_rate(port: int, requests: Sequence[bytes], connections: int, seconds: float, rate: float) -> Load:
    """So many requests a second, whether it keeps up or not: seconds count from when a request was due.

    Raises LoadFailed.
    """

    async def run() -> Load:
        taken: list[float] = []
        due: deque[float] = deque()
        idle: deque[_Connection] = deque()

        def answered(connection: _Connection) -> None:
            taken.append(time.perf_counter() - connection.due)
            if due:
                connection.ask(random.choice(requests), due.popleft())
            else:
                idle.append(connection)

        opened = await _open(port, connections, answered)
        idle.extend(opened)
        began, count = time.perf_counter(), int(seconds * rate)
        for number in range(count):
            at = began + number / rate
            while (wait := at - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            if idle:
                idle.popleft().ask(random.choice(requests), at)
            else:
                due.append(at)
                await asyncio.sleep(0)
        while len(taken) < count:
            failed = [connection.ended for connection in opened if connection.ended.done()]
            await asyncio.gather(*failed)
            await asyncio.sleep(0.01)
        spent = time.perf_counter() - began
        for connection in opened:
            connection.end()
        return Load(count / spent, sorted(taken))

    return asyncio.run(run())


async def _open(port: int, connections: int, answered: Callable[[_Connection], None]) -> list[_Connection]:
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: _Connection(answered, loop.create_future()), "127.0.0.1", port)
        for _ in range(connections)
    ]
    return [connection for _, connection in made]


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, answered: Callable[[_Connection], None], ended: asyncio.Future[None]) -> None:
        self.due = 0.0
        self.ended = ended
        self._answered = answered
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def ask(self, request: bytes, due: float) -> None:
        self.due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(_END_OF_HEAD)
        if end < 0:
            return
        start = self._received.find(_LENGTH) + len(_LENGTH)
        length = int(self._received[start : self._received.index(b"\r", start)])
        if len(self._received) < end + len(_END_OF_HEAD) + length:
            return
        good, self._received = self._received.startswith(_GOOD), b""
        if good:
            self._answered(self)
        else:
            self._fail(data[:100].decode(errors="replace"))

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(f"the connection was closed: {error}")

    def end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
        self._transport.close()

    def _fail(self, why: str) -> None:
        if not self.ended.done():
            self.ended.set_exception(LoadFailed(why))
