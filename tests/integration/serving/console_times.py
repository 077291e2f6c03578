"""`python -m tests.integration.serving.console_times`: how long each page of the console takes after two years.

It starts an empty embedded Postgres, generates 730 nights, and prints the median and the 95th percentile of each page.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx

from core.database import connect, ensure_database, migrate
from core.settings import Settings
from tests.integration.serving.api import serving
from tests.integration.serving.console_history import break_last_night, console_history
from tests.integration.serving.run_history import insert_streamed_day

NIGHTS, VIEWS, SECONDS_BETWEEN_VIEWS = 730, 40, 0.1
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PAGES = (
    "/console",
    "/console?days=90",
    "/console/batches",
    "/console/batches?until=2025-06-01",
    "/console/batches/listen_history-2026-11-22",
    "/console/expectations",
    "/console/expectations/listen_history/rejects_are_few",
    "/console/figures/listen_history/sessions",
    "/console/models",
    "/console/models/100",
    "/console/explore?track=Title",
    "/console/explore/users/5",
    "/console/explore/tracks/7",
    "/console/experiments",
    "/console/stream",
    "/console/actions",
    "/console/runbook",
)


def main() -> None:
    """Measure every page and print the times in milliseconds."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        (Path(folder) / "clock").write_text(NOW.isoformat())
        url = ensure_database(Settings(_env_file=None, data_dir=Path(folder)))
        migrate(url)
        with connect(url) as connection:
            console_history(connection, NOW, NIGHTS)
            insert_streamed_day(connection, NOW)
            break_last_night(connection, NOW)
            connection.execute("analyze")
        with (
            serving(url, data_dir=Path(folder), clock_file=Path(folder) / "clock") as api,
            httpx.Client(base_url=api.url, timeout=60) as person,
        ):
            person.post("/console/sign-in", data={"key": api.key})
            for path in PAGES:
                times = measure(person, path)
                p95 = statistics.quantiles(times, n=20)[-1]
                print(f"{path:56} median {statistics.median(times):5.0f} ms, p95 {p95:5.0f} ms", flush=True)


def measure(person: httpx.Client, path: str) -> list[float]:
    """Milliseconds of each view, after the charts are drawn."""
    while "not ready yet" in person.get(path).text:
        time.sleep(1)
    times = []
    for _ in range(VIEWS):
        time.sleep(SECONDS_BETWEEN_VIEWS)
        start = time.perf_counter()
        person.get(path).raise_for_status()
        times.append(1000 * (time.perf_counter() - start))
    return times


if __name__ == "__main__":
    main()
