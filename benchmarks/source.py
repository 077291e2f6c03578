"""The mock API in its own process, and the landing of its snapshots."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import requests

from benchmarks.processes import Show
from core.clock import utc_now
from core.settings import Settings
from pipeline import landing
from pipeline.batches import Batch
from pipeline.client import ApiClient
from pipeline.landing import Landing

ROOT = Path(__file__).parent.parent
BASE_DAY = date(2026, 11, 22)
# Together about 1 % of the sessions change a day: removed users and tracks remove their sessions too.
_DAILY_CHANGES = ("--updates", "0.0045", "--new-sessions", "0.0045", "--removals", "0.0003", "--growth", "0.001")
_READY = "mock API ready: "


@dataclass(frozen=True)
class Sizes:
    """Rows of each snapshot on the base day."""

    users: int
    tracks: int
    sessions: int

    def with_sessions(self, sessions: int) -> Sizes:
        """Sizes with so many sessions, and users and tracks in proportion."""
        users, tracks = (max(1, count * sessions // self.sessions) for count in (self.users, self.tracks))
        return Sizes(users, tracks, sessions)

    def __str__(self) -> str:
        return f"{self.users:,} users, {self.tracks:,} tracks, {self.sessions:,} sessions"


@contextmanager
def mock_api(sizes: Sizes) -> Iterator[str]:
    """Run a mock API on its base day and a free port. Yields its URL."""
    counts = ("--users", str(sizes.users), "--tracks", str(sizes.tracks), "--sessions", str(sizes.sessions))
    with run_mock_server("--port", "0", "--day", str(BASE_DAY), *counts, *_DAILY_CHANGES) as api_url:
        yield api_url


@contextmanager
def run_mock_server(*options: str) -> Iterator[str]:
    """Run a mock API with these options. Yields its URL. Raises RuntimeError if it does not start."""
    command = [sys.executable, "-m", "mock_server", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line.startswith(_READY):
                raise RuntimeError(f"the mock API did not start: {line.strip() or 'it printed nothing'}")
            yield line.removeprefix(_READY).strip()
        finally:
            process.terminate()


def move_to(api_url: str, day: date) -> None:
    """Set the mock's simulated day. Returns when its snapshots are ready."""
    requests.post(f"{api_url}/_control/day", json={"day": str(day)}, timeout=300).raise_for_status()


def land_batch(show: Show, batch: Batch, settings: Settings) -> Landing:
    """Land one snapshot, and show its progress."""

    def progress(landed: int, pages: int) -> None:
        show(f"landing {batch.batch_id}: {landed:,} of {pages:,} pages")

    return landing.land_snapshot(ApiClient(settings), batch, settings, clock=utc_now, progress=progress)
