"""Measures requests per second for recommendations, relative to a constant response of the same process."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
import psutil
import requests

from benchmarks import sample_data
from benchmarks.context import NO_SOURCE, BenchmarkContext, migrate_and_connect, url_of
from benchmarks.figures import Figure, Measurement, PairedRuns
from benchmarks.processes import Show, cpu_seconds, run_module, wait_until
from core.clock import utc_now
from core.database import Connection
from core.settings import Settings
from demo.local_services import free_ports
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
    return context.measure(compare, settings, users, tracks, min(5.0, users / 1000))


def compare(show: Show, settings: Settings, users: int, tracks: int, seconds: float, rounds: int) -> Measurement:
    """Fill a database, serve it, and alternate requests for recommendations and for a constant response."""
    show(f"publishing recommendations for {users:,} users")
    with migrate_and_connect(settings) as connection:
        publication_id = publish(connection, users, tracks)
        plays = sample_data.make_plays(users, tracks, 20 * users)
        plays = replace(plays, track_ids=plays.track_ids + 1)
        sample_data.record_model(connection, settings, publication_id, MODEL, plays)
        key = keys.create(connection, "benchmark", ["recommendations:read"], utc_now()).text
    with serving_process(settings) as (port, process):
        paths = [f"/v1/users/{random.randint(1, users)}/recommendations" for _ in range(5_000)]
        excluded = ",".join(str(random.randint(1, tracks)) for _ in range(20))
        parameters = f"limit=10&exclude={excluded}&genre=Rock&new_only=true"
        recommendations = [_request(key, f"{path}?n=10") for path in paths]
        filtered = [_request(key, f"{path}?{parameters}") for path in paths]
        kinds = (recommendations, filtered, [_request(key, "/health/live")])
        for requests_of_kind in kinds:
            send(port, requests_of_kind, seconds / 5)  # warms up query plans and caches
        show("sending at full speed")
        rounds_of_seconds = [[1 / send(port, kind, seconds).per_second for kind in kinds] for _ in range(rounds)]
        plain = PairedRuns(1, [(plain, constant) for plain, _, constant in rounds_of_seconds])
        filters = PairedRuns(1, [(filtered, constant) for _, filtered, constant in rounds_of_seconds])
        show("sending at half of the peak")
        half_load = send(port, recommendations, seconds, 1 / plain.project / 2)
        name = "serving: {} a second, share of a constant response"
        return Measurement(
            [
                plain.rate_figure(
                    name.format("recommendations"), "requests", f", {CONNECTIONS} connections", at_least=0.7
                ),
                filters.rate_figure(
                    name.format("filtered recommendations"),
                    "requests",
                    "; by genre, without 20 tracks and played ones",
                    at_least=0.4,
                ),
                half_load.figure("recommendations"),
                *_measure_sessions(show, port, process, key, tracks, seconds),
            ]
        )


def _measure_sessions(
    show: Show, port: int, process: psutil.Process, key: str, tracks: int, seconds: float
) -> list[Figure]:
    """Send sessions at full speed and at half of that rate, once the API has loaded the model."""
    show("sending sessions without an account")
    bodies = [{"tracks": random.sample(range(1, tracks + 1), SESSION_LENGTH), "limit": 10} for _ in range(1_000)]
    sessions = [_request(key, "/v1/recommendations", body) for body in bodies]
    url, headers = f"http://127.0.0.1:{port}/v1/recommendations", {"Authorization": f"Bearer {key}"}
    wait_until(
        lambda: requests.post(url, json=bodies[0], headers=headers, timeout=10).ok,
        _SECONDS_TO_START,
        "the API did not load the model",
    )
    send(port, sessions, seconds / 5)
    before = cpu_seconds(process)
    peak = send(port, sessions, seconds)
    # Per CPU second of the API and its process that holds the model.
    per_core = len(peak.seconds) / (cpu_seconds(process) - before)
    measured = (
        f"{peak.per_second:,.0f} requests a second with {CONNECTIONS} connections; {MODEL} with {tracks:,} tracks,"
        f" {SESSION_LENGTH} tracks each"
    )
    return [
        send(port, sessions, seconds, peak.per_second / 2).figure("sessions without an account", at_most=50),
        Figure("serving: sessions without an account a second and core", per_core, measured),
    ]


def publish(connection: Connection, users: int, tracks: int) -> int:
    """Insert users and tracks. Then publish recommendations for nine users in ten, `PUBLICATIONS` times.

    Returns the last publication.
    """
    sample_data.insert_catalogue(connection, users, tracks)
    recommendations = sample_data.make_recommendations(users, tracks).filter(pl.col("user_id") % 10 != 0)
    return max(sample_data.publish(connection, recommendations) for _ in range(PUBLICATIONS))


@contextmanager
def serving_process(settings: Settings) -> Iterator[tuple[int, psutil.Process]]:
    """Run `python -m serving` with its log in a file. Yields its port and the process."""
    port = free_ports(1)[0]
    environment = {
        "DATABASE_URL": url_of(settings),
        "DATA_DIR": str(settings.data_dir),
        "SERVING_PORT": str(port),
        "SERVING_DATABASE_URL": "",
        "SERVING_REQUESTS_PER_MINUTE": _NO_LIMIT,
    }
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with (
        (settings.data_dir / "serving.log").open("w") as log,
        run_module("serving", "--host", "127.0.0.1", environment=environment, stdout=log, stderr=log) as process,
    ):
        wait_until_reachable(f"http://127.0.0.1:{port}/health/ready", _SECONDS_TO_START)
        yield port, process


def _request(key: str, path: str, body: dict[str, Any] | None = None) -> bytes:
    """A GET, or with a body a POST."""
    content = json.dumps(body) if body else ""
    headers = f"Host: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
    if content:
        headers += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return f"{'POST' if content else 'GET'} {path} HTTP/1.1\r\n{headers}\r\n{content}".encode()


class LoadFailed(RuntimeError):
    """A response had another status than 200."""


@dataclass(frozen=True)
class LoadResult:
    """Responses per second, and the latency of each response in seconds, in ascending order."""

    per_second: float
    seconds: Sequence[float]

    def percentile(self, percent: float) -> float:
        """The latency in ms that `percent` per cent of the responses do not exceed."""
        return 1000 * self.seconds[min(len(self.seconds) - 1, int(len(self.seconds) * percent / 100))]

    def figure(self, responses: str, at_most: float | None = None) -> Figure:
        """The latency of 99 % of the responses."""
        name = f"serving: 99 % of {responses} at half of the peak within"
        measured = f"{self.per_second:,.0f} requests a second; half of them within {self.percentile(50):.1f} ms"
        return Figure(name, self.percentile(99), measured, unit="ms", at_most=at_most)


def send(port: int, requests: Sequence[bytes], seconds: float, rate: float | None = None) -> LoadResult:
    """Send `rate` requests per second, evenly spaced. Raises LoadFailed, or EOFError if the server disconnects.

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
    seconds = list[float]()
    pool = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)]
    started = time.perf_counter()
    shared_times = due_times(started)  # each due time goes to one connection

    async def send_when_due(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for due in shared_times:
            while (delay := due - time.perf_counter()) > 0:
                await asyncio.sleep(delay)
            writer.write(random.choice(requests))
            headers = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(headers.partition(b"\r\ncontent-length:")[2].partition(b"\r")[0]))
            if not headers.startswith(b"HTTP/1.1 200 "):
                raise LoadFailed(headers.decode(errors="replace"))
            seconds.append(time.perf_counter() - due)

    try:
        await asyncio.gather(*(send_when_due(reader, writer) for reader, writer in pool))
        elapsed_seconds = time.perf_counter() - started
    finally:
        for _, writer in pool:
            writer.close()
    return LoadResult(len(seconds) / elapsed_seconds, sorted(seconds))
