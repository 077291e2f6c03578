"""Measures requests per second for recommendations, relative to a constant response of the same process."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from benchmarks import sample_data
from benchmarks.context import NO_SOURCE, BenchmarkContext
from benchmarks.figures import Figure, Measurement, PairedRuns
from benchmarks.processes import Show
from benchmarks.source import ROOT
from core.clock import utc_now
from core.database import Connection, connect, migrate
from core.settings import Settings
from demo.local_services import free_ports
from services.deploy import wait_until_reachable
from serving import keys

CONNECTIONS = 32
PUBLICATIONS = 8  # all stay stored; the last one is live
_NO_LIMIT = "10000000"
_SECONDS_TO_START = 60


def measure(context: BenchmarkContext) -> Measurement:
    """Compare recommendations with a constant response, then send at half of the peak rate."""
    users, tracks = context.capped(10_000, 20_000)
    settings = context.settings("serving", NO_SOURCE)
    seconds = min(5.0, users / 1000)
    runs, load = context.run(context.show, compare, settings, users, tracks, context.rounds, seconds).result
    figures = [
        Figure(
            "serving: recommendations a second, share of a constant response",
            runs.share_of_rate,
            f"{runs.rates('requests')}, {CONNECTIONS} connections",
            at_least=0.5,
        ),
        Figure(
            "serving: 99 % of recommendations at half of the peak within",
            load.percentile(99) * 1000,
            f"{load.per_second:,.0f} requests a second; half of them within {load.percentile(50) * 1000:.1f} ms",
            unit="ms",
        ),
    ]
    return Measurement(figures)


def compare(
    show: Show, settings: Settings, users: int, tracks: int, rounds: int, seconds: float
) -> tuple[PairedRuns, LoadResult]:
    """Fill a database, serve it, and alternate requests for recommendations and for a constant response.

    Returns the seconds per request of both, and the result of requests at half of the peak rate.
    """
    url = settings.database_url.get_secret_value()
    show(f"publishing recommendations for {users:,} users")
    migrate(url)
    with connect(url) as connection:
        publish(connection, users, tracks)
        key = keys.create(connection, "benchmark", ["recommendations:read"], utc_now())
    with serving_process(url, settings.data_dir) as port:
        paths = [f"/v1/users/{random.randint(1, users)}/recommendations?n=10" for _ in range(5_000)]
        recommendations = [_request(path, key.text) for path in paths]
        constant = [_request("/health/live", key.text)]

        def seconds_per_request(requests: Sequence[bytes], seconds: float = seconds) -> float:
            return 1 / send(port, requests, seconds).per_second

        for requests in (constant, recommendations):
            seconds_per_request(requests, seconds / 5)  # warms up query plans and caches
        show("sending at full speed")
        pairs = [(seconds_per_request(recommendations), seconds_per_request(constant)) for _ in range(rounds)]
        runs = PairedRuns(1, pairs)
        show("sending at half of the peak")
        return runs, send(port, recommendations, seconds, 1 / runs.project / 2)


def publish(connection: Connection, users: int, tracks: int) -> None:
    """Insert users and tracks. Then publish recommendations for nine users in ten, `PUBLICATIONS` times."""
    sample_data.insert_catalogue(connection, users, tracks)
    recommendations = sample_data.recommend(users, tracks).filter(pl.col("user_id") % 10 != 0)
    similar = sample_data.relate(1, 0)
    for _ in range(PUBLICATIONS):
        sample_data.publish(connection, recommendations, similar, utc_now())


@contextmanager
def serving_process(url: str, data_dir: Path) -> Iterator[int]:
    """Run `python -m serving` with its log in a file. Yields its port."""
    port = free_ports(1)[0]
    environment = {"DATABASE_URL": url, "DATA_DIR": str(data_dir), "SERVING_PORT": str(port)}
    environment |= {"SERVING_DATABASE_URL": "", "SERVING_REQUESTS_PER_MINUTE": _NO_LIMIT}
    data_dir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "serving", "--host", "127.0.0.1"]
    with (
        (data_dir / "serving.log").open("w") as log,
        subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=log, stderr=log) as process,
    ):
        try:
            wait_until_reachable(f"http://127.0.0.1:{port}/health/ready", _SECONDS_TO_START)
            yield port
        finally:
            process.terminate()


def _request(path: str, key: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


_END_OF_HEADERS = b"\r\n\r\n"
_LENGTH_HEADER = b"\r\ncontent-length:"
_OK = b"HTTP/1.1 200 "


class LoadFailed(RuntimeError):
    """A response had another status than 200, or the server closed the connection."""


@dataclass(frozen=True)
class LoadResult:
    """Responses per second, and the latency of each response in seconds, in ascending order."""

    per_second: float
    seconds: Sequence[float]

    def percentile(self, percent: float) -> float:
        """The latency in seconds that `percent` per cent of the responses do not exceed."""
        return self.seconds[min(len(self.seconds) - 1, int(len(self.seconds) * percent / 100))]


def send(port: int, requests: Sequence[bytes], seconds: float, rate: float | None = None) -> LoadResult:
    """Send `rate` requests per second, evenly spaced. Raises LoadFailed.

    Without a rate, each connection sends its next request when the response to the previous one has arrived. Latency
    is measured from the time at which the request was due.
    """

    def due_times(started: float) -> Iterator[float]:
        if rate is not None:
            yield from (started + number / rate for number in range(int(seconds * rate)))
        while rate is None and (now := time.perf_counter()) < started + seconds:
            yield now

    return asyncio.run(_send(port, requests, due_times))


async def _send(port: int, requests: Sequence[bytes], due_times: Callable[[float], Iterator[float]]) -> LoadResult:
    loop, seconds = asyncio.get_running_loop(), list[float]()
    pool = [(await loop.create_connection(_Connection, "127.0.0.1", port))[1] for _ in range(CONNECTIONS)]
    started = time.perf_counter()
    shared_times = due_times(started)  # each due time goes to one connection

    async def send_when_due(connection: _Connection) -> None:
        for due in shared_times:
            while (delay := due - time.perf_counter()) > 0:
                await asyncio.sleep(delay)
            await connection.send(random.choice(requests))
            seconds.append(time.perf_counter() - due)

    try:
        await asyncio.gather(*map(send_when_due, pool))
        elapsed_seconds = time.perf_counter() - started
    finally:
        for connection in pool:
            connection.close()
    return LoadResult(len(seconds) / elapsed_seconds, sorted(seconds))


class _Connection(asyncio.Protocol):
    """One HTTP connection with keep-alive. It sends one request at a time."""

    _response: asyncio.Future[None] | None = None
    _buffer = b""

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
        self._buffer += data
        end = self._buffer.find(_END_OF_HEADERS)
        if end < 0:
            return
        start = self._buffer.find(_LENGTH_HEADER) + len(_LENGTH_HEADER)
        length = int(self._buffer[start : self._buffer.index(b"\r", start)])
        if len(self._buffer) < end + len(_END_OF_HEADERS) + length:
            return
        response, self._buffer = self._buffer, b""
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
