"""Metric names, means and their bounds, and the publication of a day."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from recommender.monitoring import daily_quality
from recommender.monitoring.daily_quality import DayMetric, DayQuality


def test_metric_names_contain_k() -> None:
    assert (daily_quality.ndcg(20), daily_quality.lift(5)) == ("ndcg@20", "lift@5")


def test_missing_metric_is_none() -> None:
    quality = DayQuality(date(2026, 11, 22), 1, (DayMetric("useful", 0.5, 2),))
    assert quality["useful"] == DayMetric("useful", 0.5, 2)
    assert quality["ndcg@20"] is None


def test_bounds_contain_the_true_mean_19_of_20_times() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(1_000):
        metric = daily_quality._mean("m", random.random(50), 0, 1)
        assert metric.lower is not None
        assert metric.upper is not None
        covered += metric.lower <= 0.5 <= metric.upper
    assert 0.93 < covered / 1_000 < 0.97


@pytest.mark.parametrize(("value", "lowest", "highest"), [(0.0, 0, 1), (1.0, 0, 1), (-1.0, -1, 1)])
def test_constant_values_have_bounds_of_zero_width(value: float, lowest: float, highest: float) -> None:
    metric = daily_quality._mean("m", np.full(5, value), lowest, highest)
    assert (metric.value, metric.lower, metric.upper, metric.users) == (value, value, value, 5)


def test_bounds_are_clipped_to_the_range() -> None:
    metric = daily_quality._mean("m", np.array([-1.0, 1.0]), -1, 1)
    assert (metric.lower, metric.upper) == (-1, 1)


@pytest.mark.parametrize(("publications", "expected"), [([1, 1, 2], 1), ([1, 2], 2), ([2, 1, 1, 2], 2), ([7], 7)])
def test_newer_publication_wins_a_tie_of_users(publications: list[int], expected: int) -> None:
    assert daily_quality._most_used_publication(np.array(publications)) == expected
