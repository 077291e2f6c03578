"""Changes are read to their end, and those of the last seconds again."""

from __future__ import annotations

import pytest

from streaming.recommendation_updates import MissedChanges


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds on the clock, in a list of one."""
    now = [100.0]
    monkeypatch.setattr("streaming.recommendation_updates.time.monotonic", lambda: now[0])
    return now


def test_pages_follow_each_other(seconds: list[float]) -> None:
    missed = MissedChanges()
    missed.advance(2_000, is_end=False)
    assert missed.position == 2_000
    missed.advance(4_000, is_end=False)
    assert missed.position == 4_000


def test_changes_that_commit_late_are_read_again(seconds: list[float]) -> None:
    missed = MissedChanges()
    missed.advance(2_000, is_end=False)
    missed.advance(2_100, is_end=True)
    assert missed.position == 0, "a change up to 2,100 may still be committed"

    seconds[0] += 9
    missed.advance(2_200, is_end=True)
    assert missed.position == 0

    seconds[0] += 1
    missed.advance(2_300, is_end=True)
    assert missed.position == 2_100

    seconds[0] += 9
    missed.advance(2_300, is_end=True)
    assert missed.position == 2_200


def test_changes_are_remembered_for_a_bounded_time(seconds: list[float]) -> None:
    missed = MissedChanges()
    for second in range(1_000):
        seconds[0] = 100.0 + second
        missed.advance(second, is_end=True)
    assert missed.position == 989
    assert len(missed._ends) <= 12
