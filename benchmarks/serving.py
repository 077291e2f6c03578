"""Measures requests per second for recommendations, relative to a constant response of the same process."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import requests

from benchmarks import sample_data
from benchmarks.context import NO_SOURCE, BenchmarkContext
from benchmarks.figures import Figure, Measurement, PairedRuns
from benchmarks.processes import Show
from benchmarks.source import ROOT
from core.clock import utc_now
from core.database import Connection, connect, migrate
from core.settings import Settings
from core.stores import model_store
from demo.local_services import free_ports
from recommender.models import file_format
from recommender.models.registry import CANDIDATES
from services.deploy import wait_until_reachable
from serving import keys

CONNECTIONS = 32
PUBLICATIONS = 8  # all stay stored; the last one is live
MODEL, SESSION_LENGTH = "chebyshev", 10
_NO_LIMIT = "10000000"
_SECONDS_TO_START = 60


def measure(context: BenchmarkContext) -> Measurement:
    """Compare recommendations with a constant response, then send at half of the peak rate."""
    users, tracks = context.capped(10_000, 20_000)
    settings = context.settings("serving", NO_SOURCE)
    seconds = min(5.0, users / 1000)
    comparison = context.run(context.show, compare, settings, users, tracks, context.rounds, seconds).result
    plain, filtered, load = comparison.plain, comparison.filtered, comparison.half_load
    sessions = comparison.sessions
    figures = [
        Figure(
            "serving: recommendations a second, share of a constant response",
            plain.share_of_rate,
            f"{plain.rates('requests')}, {CONNECTIONS} connections",
            at_least=0.7,
        ),
        Figure(
            "serving: filtered recommendations a second, share of a constant response",
            filtered.share_of_rate,
            f"{filtered.rates('requests')}; by genre, without 20 tracks and played ones",
            at_least=0.4,
        ),
        Figure(
            "serving: 99 % of recommendations at half of the peak within",
            load.percentile(99) * 1000,
            f"{load.per_second:,.0f} requests a second; half of them within {load.percentile(50) * 1000:.1f} ms",
            unit="ms",
        ),
        Figure(
            "serving: 99 % of sessions without an account at half of the peak within",
            sessions.half_load.percentile(99) * 1000,
            f"{sessions.half_load.per_second:,.0f} requests a second; half of them within "
            f"{sessions.half_load.percentile(50) * 1000:.1f} ms",
            unit="ms",
            at_most=50,
        ),
        Figure(
            "serving: sessions without an account a second and core",
            sessions.per_core,
            f"{sessions.peak.per_second:,.0f} requests a second with {CONNECTIONS} connections; {MODEL} with "
            f"{tracks:,} tracks, {SESSION_LENGTH} tracks each",
        ),
    ]
    return Measurement(figures)


@dataclass(frozen=True)
class SessionLoad:
    """Sessions without an account at full speed, the CPU seconds of the API meanwhile, and sessions at half load."""

    peak: LoadResult
    cpu_seconds: float
    half_load: LoadResult

    @property
    def per_core(self) -> float:
        """Responses per CPU second of the API and its process that holds the model."""
        return len(self.peak.seconds) / self.cpu_seconds


@dataclass(frozen=True)
class ServingComparison:
    """Seconds per request of plain and filtered recommendations beside a constant response; plain ones at half load."""

    plain: PairedRuns
    filtered: PairedRuns
    half_load: LoadResult
    sessions: SessionLoad


def compare(show: Show, settings: Settings, users: int, tracks: int, rounds: int, seconds: float) -> ServingComparison:
    """Fill a database, serve it, and alternate requests for recommendations and for a constant response."""
    url = settings.database_url.get_secret_value()
    show(f"publishing recommendations for {users:,} users")
    migrate(url)
    with connect(url) as connection:
        publish(connection, users, tracks)
        save_model(connection, settings, users, tracks)
        key = keys.create(connection, "benchmark", ["recommendations:read"], utc_now())
    with serving_process(url, settings.data_dir) as (port, process):
        paths = [f"/v1/users/{random.randint(1, users)}/recommendations?n=10" for _ in range(5_000)]
        recommendations = [_request(path, key.text) for path in paths]
        excluded = ",".join(str(random.randint(1, tracks)) for _ in range(20))
        parameters = f"limit=10&exclude={excluded}&genre=Rock&new_only=true"
        filtered = [_request(f"{path.partition('?')[0]}?{parameters}", key.text) for path in paths]
        constant = [_request("/health/live", key.text)]

        def seconds_per_request(requests: Sequence[bytes], seconds: float = seconds) -> float:
            return 1 / send(port, requests, seconds).per_second

        for warm_up in (constant, recommendations, filtered):
            send(port, warm_up, seconds / 5)  # warms up query plans and caches
        show("sending at full speed")
        rates = [
            (seconds_per_request(recommendations), seconds_per_request(constant), seconds_per_request(filtered))
            for _ in range(rounds)
        ]
        plain = PairedRuns(1, [(list_seconds, constant_seconds) for list_seconds, constant_seconds, _ in rates])
        show("sending at half of the peak")
        half_load = send(port, recommendations, seconds, 1 / plain.project / 2)
        show("sending sessions without an account")
        bodies = [{"tracks": random.sample(range(1, tracks + 1), SESSION_LENGTH), "limit": 10} for _ in range(1_000)]
        return ServingComparison(
            plain,
            PairedRuns(1, [(filtered_seconds, constant_seconds) for _, constant_seconds, filtered_seconds in rates]),
            half_load,
            _send_sessions(port, process, key.text, bodies, seconds),
        )


def _send_sessions(
    port: int, process: psutil.Process, key: str, bodies: Sequence[dict[str, Any]], seconds: float
) -> SessionLoad:
    """Send sessions at full speed and at half of that rate, once the API has loaded the model."""
    sessions = [_session_request(body, key) for body in bodies]
    url, headers = f"http://127.0.0.1:{port}/v1/recommendations", {"Authorization": f"Bearer {key}"}
    until = time.monotonic() + _SECONDS_TO_START
    while requests.post(url, json=bodies[0], headers=headers, timeout=10).status_code != 200:
        if time.monotonic() > until:
            raise LoadFailed("the API did not load the model")
        time.sleep(0.1)
    send(port, sessions, seconds / 5)
    before = _cpu_seconds(process)
    peak = send(port, sessions, seconds)
    cpu_seconds = _cpu_seconds(process) - before
    return SessionLoad(peak, cpu_seconds, send(port, sessions, seconds, peak.per_second / 2))


def _cpu_seconds(process: psutil.Process) -> float:
    times = [part.cpu_times() for part in (process, *process.children(recursive=True))]
    return float(sum(part.user + part.system for part in times))


def publish(connection: Connection, users: int, tracks: int) -> None:
    """Insert users and tracks. Then publish recommendations for nine users in ten, `PUBLICATIONS` times."""
    sample_data.insert_catalogue(connection, users, tracks)
    recommendations = sample_data.make_recommendations(users, tracks).filter(pl.col("user_id") % 10 != 0)
    similar = sample_data.make_similar_tracks(1, 0)
    for _ in range(PUBLICATIONS):
        sample_data.publish(connection, recommendations, similar, utc_now())


def save_model(connection: Connection, settings: Settings, users: int, tracks: int) -> None:
    """Train a model on sample plays and make it that of the live publication."""
    plays = sample_data.make_plays(users, tracks, 20 * users)
    plays = replace(plays, track_ids=plays.track_ids + 1)
    with model_store(settings).new_file("model.npz") as path:
        CANDIDATES[MODEL].model_class().fit(plays).save(path)
        digest = file_format.digest(path)
    values = {"model": MODEL, "file": "model.npz", "digest": digest}
    connection.execute(sample_data.read_sql("live_model"), values)


@contextmanager
def serving_process(url: str, data_dir: Path) -> Iterator[tuple[int, psutil.Process]]:
    """Run `python -m serving` with its log in a file. Yields its port and the process."""
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
            yield port, psutil.Process(process.pid)
        finally:
            process.terminate()


def _request(path: str, key: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


def _session_request(body: dict[str, Any], key: str) -> bytes:
    content = json.dumps(body)
    headers = f"Authorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    return f"POST /v1/recommendations HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n\r\n{content}".encode()


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
