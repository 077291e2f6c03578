"""Serving: requests a second for recommendations, against a constant response of the same process."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from benchmarks import sample_data
from benchmarks.context import NO_SOURCE, BenchmarkContext
from benchmarks.figures import Figure, Measurement, PairedRuns
from benchmarks.load import LoadResult, send_at_full_speed, send_at_rate
from benchmarks.processes import Show
from benchmarks.source import ROOT
from core.clock import utc_now
from core.database import Connection, connect, migrate
from core.settings import Settings
from demo.local_services import free_ports
from services.deploy import wait_until_reachable
from serving import keys

CONNECTIONS = 32
PUBLICATIONS = 8  # kept side by side, the last one live
_NO_LIMIT = "10000000"
_SECONDS_TO_START = 60


def measure(context: BenchmarkContext) -> Measurement:
    """Compare both kinds of request, then send at half of the peak."""
    users, tracks = context.capped(10_000, 20_000)
    settings = context.settings("serving", NO_SOURCE)
    seconds = min(5.0, users / 1000)
    runs, half = context.run(context.show, compare, settings, users, tracks, context.rounds, seconds).result
    figures = [
        Figure(
            "serving: recommendations a second, share of a constant response",
            runs.share_of_rate,
            f"{runs.rates('requests')}, {CONNECTIONS} connections",
            at_least=0.5,
        ),
        Figure(
            "serving: 99 % of recommendations at half of the peak within",
            half.percentile(99) * 1000,
            f"{half.per_second:,.0f} requests a second; half of them within {half.percentile(50) * 1000:.1f} ms",
            unit="ms",
        ),
    ]
    return Measurement(figures)


def compare(
    show: Show, settings: Settings, users: int, tracks: int, rounds: int, seconds: float
) -> tuple[PairedRuns, LoadResult]:
    """Fill a database, serve it, and send both kinds of request in turns. Also returns the load at half of the peak."""
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
        for requests in (constant, recommendations):
            send_at_full_speed(port, requests, CONNECTIONS, seconds / 5)  # to warm up plans and caches
        pairs = []
        for number in range(rounds):
            show(f"sending, round {number + 1} of {rounds}")
            loads = [
                send_at_full_speed(port, requests, CONNECTIONS, seconds) for requests in (recommendations, constant)
            ]
            pairs.append((1 / loads[0].per_second, 1 / loads[1].per_second))
        runs = PairedRuns(1, pairs)
        show("sending at half of the peak")
        return runs, send_at_rate(port, recommendations, CONNECTIONS, seconds, 1 / runs.project / 2)


def publish(connection: Connection, users: int, tracks: int) -> None:
    """Insert users and tracks, and publications with recommendations for nine users in ten."""
    sample_data.insert_catalogue(connection, users, tracks)
    recommendations = sample_data.recommend(users, tracks).filter(pl.col("user_id") % 10 != 0)
    similar = sample_data.relate(1, 1).head(0)
    run = sample_data.start_model_run(connection, utc_now())
    for _ in range(PUBLICATIONS):
        sample_data.publish(connection, run, recommendations, similar, utc_now())


@contextmanager
def serving_process(url: str, data_dir: Path) -> Iterator[int]:
    """Run the serving API as a user starts it, with its log in a file. Yields its port."""
    port = free_ports(1)[0]
    environment = {
        "DATABASE_URL": url,
        "DATA_DIR": str(data_dir),
        "SERVING_PORT": str(port),
        "SERVING_DATABASE_URL": "",
        "SERVING_REQUESTS_PER_MINUTE": _NO_LIMIT,
    }
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
