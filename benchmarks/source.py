"""The mock API in a process of its own, and the bare loop that reading it is compared with."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import requests

from benchmarks.processes import Show
from core.endpoints import ENDPOINTS

ROOT = Path(__file__).parent.parent
BASE_DAY = date(2026, 11, 22)
# Together about 1 % of the sessions change a day: users and tracks that vanish take theirs along.
_DAILY_CHANGES = ("--updates", "0.0045", "--new-sessions", "0.0045", "--removals", "0.0003", "--growth", "0.001")
_READY = "mock API ready: "
_SECONDS_BETWEEN_PROGRESS = 0.5


@dataclass(frozen=True)
class Sizes:
    """Rows of each list on the base day."""

    users: int
    tracks: int
    sessions: int

    def with_sessions(self, sessions: int) -> Sizes:
        """The same world with so many sessions, users and tracks in proportion."""
        users, tracks = (max(1, count * sessions // self.sessions) for count in (self.users, self.tracks))
        return Sizes(users, tracks, sessions)

    def __str__(self) -> str:
        return f"{self.users:,} users, {self.tracks:,} tracks, {self.sessions:,} sessions"


@dataclass(frozen=True)
class BareFetch:
    """What the bare loop read."""

    pages: int
    seconds: float


@contextmanager
def mock_api(sizes: Sizes) -> Iterator[str]:
    """The URL of a mock API on its base day, on a free port, ended on the way out."""
    counts = ("--users", str(sizes.users), "--tracks", str(sizes.tracks), "--sessions", str(sizes.sessions))
    with started_mock("--port", "0", "--day", str(BASE_DAY), *counts, *_DAILY_CHANGES) as api_url:
        yield api_url


@contextmanager
def started_mock(*options: str) -> Iterator[str]:
    """The URL of a mock API with these options, ended on the way out. Raises RuntimeError when it does not start."""
    command = [sys.executable, "-m", "mock_server", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line.startswith(_READY):
                raise RuntimeError(f"the mock API did not start: {line.strip() or 'it said nothing'}")
            yield line.removeprefix(_READY).strip()
        finally:
            process.terminate()


def move_to(api_url: str, day: date) -> None:
    """Let the mock's simulated day be `day`; returns when its lists are ready."""
    requests.post(f"{api_url}/_control/day", json={"day": str(day)}, timeout=300).raise_for_status()


def bare_fetch(show: Show, api_url: str, threads: int, page_size: int) -> BareFetch:
    """Read every page of the three lists with plain `requests`, and throw the bodies away."""
    began = time.perf_counter()
    pages = [page for endpoint in ENDPOINTS for page in _pages(api_url, endpoint, page_size)]
    read = [0] * threads
    stop = threading.Event()

    def read_share(thread: int) -> None:
        with requests.Session() as session:
            for endpoint, number in pages[thread::threads]:
                parameters = {"page": number, "size": page_size}
                session.get(f"{api_url}/{endpoint}", params=parameters, timeout=60).raise_for_status()
                read[thread] += 1

    with ThreadPoolExecutor(threads) as executor:
        teller = threading.Thread(target=_tell, args=(show, read, len(pages), stop), daemon=True)
        teller.start()
        try:
            work = [executor.submit(read_share, thread) for thread in range(threads)]
            for one in work:
                one.result()
            seconds = time.perf_counter() - began
        finally:
            stop.set()
            teller.join()
    return BareFetch(len(pages), seconds)


def _pages(api_url: str, endpoint: str, page_size: int) -> list[tuple[str, int]]:
    answer = requests.get(f"{api_url}/{endpoint}", params={"page": 1, "size": page_size}, timeout=60)
    return [(endpoint, number) for number in range(1, answer.json()["pages"] + 1)]


def _tell(show: Show, read: Sequence[int], pages: int, stop: threading.Event) -> None:
    while not stop.wait(_SECONDS_BETWEEN_PROGRESS):
        show(f"bare loop, {sum(read):,} of {pages:,} pages")
