"""Two processes write Data Docs at the same time."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

from tests.unit.expectations.test_data_docs import publish_page


def _publish_days(docs_dir: Path, name: str) -> None:
    for day in range(1, 9):
        publish_page(docs_dir, day, name=name)


def test_two_concurrent_processes_lose_no_page(tmp_path: Path) -> None:
    # Spawned: what other tests have left in this process must not reach them.
    spawned = multiprocessing.get_context("spawn")
    processes = [spawned.Process(target=_publish_days, args=(tmp_path, name)) for name in ("a", "b")]
    for process in processes:
        process.start()
    for process in processes:
        process.join(280)
    assert [process.exitcode for process in processes] == [0, 0]
    assert (tmp_path / "index.html").read_text().count("validations/") == 16
