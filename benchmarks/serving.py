"""Serving: requests a second for recommendations, against a constant answer of the same program."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import urlopen

from psycopg import sql

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Measured, at_least
from benchmarks.load import Load, as_fast_as_it_goes, at_a_rate
from benchmarks.processes import Show
from benchmarks.source import ROOT
from core.database import Connection, connect, migrate
from core.settings import Settings
from serving import keys

HOW = (
    "`python -m serving` as a process of its own, asked over kept-open connections on this machine by a process that"
    " shares its cores: recommendations of random listeners (10 tracks, one listener in ten from a fallback) against"
    " `/health/live`, which answers the same bytes to everyone; taking turns, the median of the ratios. Then half of"
    " the median rate, evenly spaced, seconds counted from when each request was due."
)
CONNECTIONS = 32
PUBLICATIONS = 8  # kept beside each other, the last one live
LENGTH = 50
_MOST_LISTENERS, _MOST_TRACKS = 10_000, 20_000
_NO_LIMIT = "10000000"
_FOLDER = Path(__file__).parent / "sql"


@dataclass(frozen=True)
class Turns:
    """Requests a second of both sides, turn by turn, and the answers at half of the peak."""

    per_second: list[tuple[float, float]]
    at_half: Load


def measure(bench: Bench) -> Measured:
    """Both kinds of request, taking turns, then half of the peak."""
    listeners, tracks = min(bench.sizes.users, _MOST_LISTENERS), min(bench.sizes.tracks, _MOST_TRACKS)
    seconds = min(5.0, listeners / 1000)
    settings = bench.settings("serving", "http://127.0.0.1:1")  # nothing is fetched
    turns = bench.run(bench.show, take_turns, settings, listeners, tracks, bench.rounds, seconds).result
    served, constant = (median(side) for side in zip(*turns.per_second, strict=True))
    ratio = Figure(
        name="serving: recommendations a second, share of a constant answer",
        number=median(served / constant for served, constant in turns.per_second),
        unit="",
        target=at_least(0.5),
        measured=f"{served:,.0f} requests a second against {constant:,.0f}, {CONNECTIONS} connections",
    )
    half = turns.at_half
    latency = Figure(
        name="serving: 99 % of recommendations at half of the peak within",
        number=half.percentile(99) * 1000,
        unit="ms",
        target=None,
        measured=f"{half.per_second:,.0f} requests a second; half of them within {half.percentile(50) * 1000:.1f} ms",
    )
    return Measured(HOW, [ratio, latency])


def take_turns(show: Show, settings: Settings, listeners: int, tracks: int, rounds: int, seconds: float) -> Turns:
    """Fill a database, serve it, and ask both ways, `rounds` times."""
    url = settings.database_url.get_secret_value()
    show(f"lists for {listeners:,} listeners")
    migrate(url)
    with connect(url) as connection:
        publish(connection, listeners, tracks)
        key = keys.create(connection, "benchmark", ["recommendations:read"], datetime.now(UTC))
    with program(url, settings.data_dir) as port:
        asked = [_request(f"/v1/users/{user}/recommendations?n=10", key.text) for user in _some(listeners)]
        constant = [_request("/health/live", key.text)]
        for requests in (constant, asked):
            as_fast_as_it_goes(port, requests, CONNECTIONS, seconds / 5)  # plans, caches
        per_second = []
        for turn in range(rounds):
            show(f"asking, {turn + 1} of {rounds}")
            sides = [as_fast_as_it_goes(port, requests, CONNECTIONS, seconds) for requests in (asked, constant)]
            per_second.append((sides[0].per_second, sides[1].per_second))
        show("asking at half of the peak")
        half = median(served for served, _ in per_second) / 2
        return Turns(per_second, at_a_rate(port, asked, CONNECTIONS, seconds, half))


def publish(connection: Connection, listeners: int, tracks: int) -> None:
    """Listeners, tracks, and publications with a list for nine in ten; running it again adds publications."""
    sizes: dict[str, Any] = {"listeners": listeners, "tracks": tracks, "length": LENGTH}
    _run(connection, "serving_listeners", sizes)
    _run(connection, "serving_tracks", sizes)
    for _ in range(PUBLICATIONS):
        publication = connection.execute(_PUBLICATION).fetchone()
        number = int(publication[0]) if publication else 0
        connection.execute("create table ml.benchmark_list (like ml.recommendations)")
        _run(connection, "serving_list", sizes | {"publication": number})
        connection.execute("alter table ml.benchmark_list add primary key (user_id, rank)")
        partition = sql.Identifier("ml", f"recommendations_{number}")
        connection.execute(
            sql.SQL("alter table ml.benchmark_list rename to {}").format(sql.Identifier(f"recommendations_{number}"))
        )
        connection.execute(
            sql.SQL("alter table ml.recommendations attach partition {} for values in ({})").format(partition, number)
        )
        connection.execute(_FALLBACK, sizes | {"publication": number})
        connection.execute(
            "insert into ml.live_publications (publication_id, live_from, why) values (%s, '2024-05-01', 'benchmark')",
            [number],
        )


_PUBLICATION = """
with run as (
    insert into ml.model_runs (model, seed, data_as_of, batches, code_version, decision, started_at)
    values ('none', 1, '2024-05-01', '{}', '', 'published', '2024-05-01')
    returning model_run_id
)
insert into ml.publications
    (model_run_id, flow, status, data_as_of, batches, listeners, rows, tracks_covered, made_at)
select model_run_id, 'benchmark', 'published', '2024-05-01', '{}', 0, 0, 0, '2024-05-01' from run
returning publication_id
"""
_FALLBACK = """
insert into ml.fallbacks (publication_id, genre, rank, track_id, score)
select %(publication)s, genre, rank, 1 + rank %% %(tracks)s::bigint, 1.0 / rank
from unnest('{"", "Rock"}'::text[]) as genres (genre)
cross join generate_series(1, %(length)s::integer) as ranks (rank)
"""


@contextmanager
def program(url: str, data_dir: Path) -> Iterator[int]:
    """The port of the serving API as people start it, ended on the way out. Its log goes to a file, as with make up."""
    port = _free_port()
    ours = {"DATABASE_URL": url, "DATA_DIR": str(data_dir), "SERVING_PORT": str(port)}
    ours |= {"SERVING_DATABASE_URL": "", "SERVING_REQUESTS_PER_MINUTE": _NO_LIMIT}
    data_dir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "serving", "--host", "127.0.0.1"]
    with (
        (data_dir / "serving.log").open("w") as log,
        subprocess.Popen(command, cwd=ROOT, env=os.environ | ours, stdout=log, stderr=log) as process,
    ):
        try:
            _wait_for(f"http://127.0.0.1:{port}/health/ready")
            yield port
        finally:
            process.terminate()


def _wait_for(url: str) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            urlopen(url, timeout=5).close()  # noqa: S310, the address is our own
            return
        except OSError as error:
            if time.monotonic() > until:
                raise RuntimeError("the serving API does not get ready") from error
            time.sleep(0.1)


def _some(listeners: int) -> Sequence[int]:
    return [random.randint(1, listeners) for _ in range(5_000)]


def _request(path: str, key: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


def _run(connection: Connection, name: str, parameters: dict[str, Any]) -> None:
    connection.execute((_FOLDER / f"{name}.sql").read_text(), parameters)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
