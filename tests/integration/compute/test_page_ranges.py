"""Workers read ranges of pages of one snapshot: the same landing as with threads, and a changed snapshot is found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from compute.blocks import BlockRunner
from core import embedded_postgres
from core.clock import utc_now
from core.errors import SettingsError, SnapshotChanged, SourceError
from core.settings import Settings, load_settings
from pipeline import extraction, landing
from pipeline.batches import Batch
from pipeline.client import ApiClient
from pipeline.extraction import PageRange, PageRangeReader, SnapshotRanges
from pipeline.landing import Landing
from tests.conftest import MockApi, Query
from tests.integration.compute.dask_processes import local_cluster
from tests.object_stores import Bucket

ENDPOINT = "listen_history"


@dataclass
class CountingBlockRunner(BlockRunner):
    """Counts the blocks that a runner gets."""

    runner: BlockRunner
    blocks: list[Any] = field(default_factory=list)
    seconds_per_thread: float = 0.0

    def run(self, job: Any, state: Any, blocks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        self.seconds_per_thread = job.seconds_per_thread
        self.blocks += blocks
        return self.runner.run(job, state, blocks)


@pytest.fixture
def runner(
    environment: Path, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CountingBlockRunner]:
    """A cluster of two workers that share only the object store and the database with this process."""
    bucket.set_environment(monkeypatch, "LANDING_URL")
    for name, value in {"PAGE_SIZE": "10", "FETCH_THREADS": "2", "SOURCE_REQUESTS_PER_SECOND": "200"}.items():
        monkeypatch.setenv(name, value)
    with local_cluster(tmp_path / "cluster", workers=2) as cluster, cluster.runner() as opened:
        yield CountingBlockRunner(opened)


def land(day: int, runner: BlockRunner | None) -> Landing:
    settings = load_settings()
    batch = Batch(ENDPOINT, date(2026, 11, day), settings.source)
    progress = lambda pages, of: None  # noqa: E731
    return landing.land_snapshot(ApiClient(settings), batch, settings, clock=utc_now, progress=progress, runner=runner)


def bodies(landed: Landing) -> list[bytes]:
    return [body for _, pages in landed.chunks() for body in pages]


def test_workers_land_the_snapshot_that_threads_land(api: MockApi, runner: CountingBlockRunner) -> None:
    by_threads, by_workers = land(20, None), land(21, runner)
    assert bodies(by_workers) == bodies(by_threads)
    assert (by_workers.total, by_workers.rows, by_workers.pages) == (
        by_threads.total,
        by_threads.rows,
        by_threads.pages,
    )
    pages = [number for pages in runner.blocks for number in range(pages.first, pages.last + 1)]
    assert pages == list(range(1, by_workers.pages + 1))
    assert len(runner.blocks) > 4
    longest = max(pages.last - pages.first + 1 for pages in runner.blocks)
    assert runner.seconds_per_thread == longest / 200, "threads share SOURCE_REQUESTS_PER_SECOND"

    # A snapshot that changes once during the read is read again, as a whole.
    runner.blocks.clear()
    api.set_faults({"endpoint": ENDPOINT, "moving": {"every": 20, "moves": 1, "kind": "both"}})
    changed = land(22, runner)
    assert changed.rows == changed.total == len(api.rows(ENDPOINT))
    assert len([pages for pages in runner.blocks if pages.first == 1]) == 2
    assert len(changed.files or ()) == len(runner.blocks) / 2

    # A snapshot that keeps changing is never landed.
    api.set_faults({"endpoint": ENDPOINT, "moving": 5})
    with pytest.raises(SnapshotChanged, match="during extraction; read 4 times"):
        land(23, runner)
    settings = load_settings()
    assert landing.find_landing(settings, Batch(ENDPOINT, date(2026, 11, 23), settings.source)) is None


@pytest.fixture
def snapshot(api: MockApi, environment: Path) -> SnapshotRanges:
    settings = load_settings()
    batch = Batch("tracks", date(2026, 11, 20), settings.source)
    first = ApiClient(settings).fetch_page("tracks", 1)
    return SnapshotRanges(batch, "", settings.page_size, "tracks/x", "w", first, None)


def test_worker_with_settings_of_another_source_reads_nothing(
    snapshot: SnapshotRanges, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOOVITAMIX_API_URL", "http://other.example")
    with pytest.raises(SettingsError, match="MOOVITAMIX_API_URL of a worker is not that of the run"):
        PageRangeReader(snapshot).read(PageRange(1, 2))


def test_worker_that_must_count_requests_does_not_start_a_database_of_its_own(
    snapshot: SnapshotRanges, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_REQUESTS_PER_SECOND", "50")
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setattr(embedded_postgres, "start", lambda *_: pytest.fail("started an embedded Postgres"))
    with pytest.raises(SettingsError, match="has no INGEST_DATABASE_URL; set it to the database of the run"):
        PageRangeReader(snapshot).read(PageRange(1, 2))


def test_ranges_of_a_worker_share_settings_and_one_connection(
    snapshot: SnapshotRanges, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_REQUESTS_PER_SECOND", "1000")
    loaded: list[Settings] = []
    monkeypatch.setattr(extraction, "load_settings", lambda: loaded.append(load_settings()) or loaded[-1])
    # Without the server's own processes, such as autovacuum's.
    connections = (
        "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        " and backend_type = 'client backend'"
    )
    before = query(connections)[0][0]
    reader = PageRangeReader(snapshot)
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(reader.read, [PageRange(page, page) for page in range(1, 5)]))
    assert [list(pages.pages) for pages in read] == [[1], [2], [3], [4]]
    assert len(loaded) == 1
    assert query(connections)[0][0] == before + 1
    reader.close()
    with pytest.raises(SourceError):
        reader.read(PageRange(2, 2))
