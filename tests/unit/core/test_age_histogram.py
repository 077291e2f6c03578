"""Quantiles of the ages of streamed messages."""

from __future__ import annotations

import math

import pytest

from core.age_histogram import AGE_BOUNDS, age_quantile


def ages(**steps: int) -> list[int]:
    """A histogram with these counts by number of the step."""
    counts = [0] * (len(AGE_BOUNDS) + 1)
    for name, count in steps.items():
        counts[int(name[1:])] = count
    return counts


def test_quantile_is_interpolated_within_a_step() -> None:
    assert age_quantile(ages(s4=100), 0.5) == pytest.approx(0.15)
    assert age_quantile(ages(s4=100), 1) == pytest.approx(0.2)
    assert age_quantile(ages(s0=50, s4=50), 0.5) == pytest.approx(0.01)
    assert age_quantile(ages(s0=98, s4=2), 0.99) == pytest.approx(0.15)


def test_quantile_without_messages_is_none() -> None:
    assert age_quantile(ages(), 0.5) is None
    assert age_quantile([], 0.5) is None


def test_quantile_beyond_the_last_bound_is_infinite() -> None:
    assert age_quantile(ages(s13=1), 0.5) == math.inf
    assert age_quantile(ages(s0=99, s13=1), 0.5) == pytest.approx(0.01 * 50 / 99)
