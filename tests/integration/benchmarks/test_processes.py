"""Work in a child process: progress, result and memory are reported, and so are failures."""

from __future__ import annotations

import os

import pytest

from benchmarks.processes import Show, WorkFailed, run_in_fresh_process


def test_child_reports_progress_result_time_and_memory() -> None:
    progress: list[str] = []
    process = run_in_fresh_process(progress.append, _double, 21)
    assert process.result == 42
    assert progress == ["doubling 21"]
    assert process.seconds > 0
    assert process.peak_bytes > 2**20


def test_failures_in_a_child_are_reported() -> None:
    with pytest.raises(WorkFailed, match="no such number"):
        run_in_fresh_process(lambda text: None, _double, -1)
    with pytest.raises(WorkFailed, match="exit code 3"):
        run_in_fresh_process(lambda text: None, _exit)


def _double(show: Show, number: int) -> int:
    show(f"doubling {number}")
    if number < 0:
        raise ValueError("no such number")
    return 2 * number


def _exit(show: Show) -> None:
    os._exit(3)
