"""Work in a child process: progress, result and memory come back, and so does what went wrong."""

from __future__ import annotations

import os

import pytest

from benchmarks.processes import Show, WorkFailed, in_fresh_process


def test_a_child_says_how_far_it_is_what_it_found_and_how_much_memory_it_took() -> None:
    said: list[str] = []
    ran = in_fresh_process(said.append, _double, 21)
    assert ran.result == 42
    assert said == ["doubling 21"]
    assert ran.peak_bytes > 2**20


def test_what_goes_wrong_in_a_child_is_told() -> None:
    with pytest.raises(WorkFailed, match="no such number"):
        in_fresh_process(lambda text: None, _double, -1)
    with pytest.raises(WorkFailed, match="exit code 3"):
        in_fresh_process(lambda text: None, _die)


def _double(show: Show, number: int) -> int:
    show(f"doubling {number}")
    if number < 0:
        raise ValueError("no such number")
    return 2 * number


def _die(show: Show) -> None:
    os._exit(3)
