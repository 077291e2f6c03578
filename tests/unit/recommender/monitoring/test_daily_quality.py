"""Means with their bounds, and what a day is called by."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from recommender.monitoring import daily_quality
from recommender.monitoring.daily_quality import DayMetric, DayQuality


def test_metrics_are_named_by_how_many_places_count() -> None:
    assert (daily_quality.ndcg(20), daily_quality.lift(5)) == ("ndcg@20", "lift@5")


def test_a_metric_that_was_not_measured_is_none() -> None:
    found = DayQuality(date(2026, 11, 22), 1, (DayMetric("useful", 0.5, 2),))
    assert found["useful"] == DayMetric("useful", 0.5, 2)
    assert found["ndcg@20"] is None


def test_bounds_hold_the_truth_19_times_of_20() -> None:
    random = np.random.default_rng(0)
    held = 0
    for _ in range(1_000):
        one = daily_quality._mean("m", random.random(50), 0, 1)
        assert one.lower is not None
        assert one.upper is not None
        held += one.lower <= 0.5 <= one.upper
    assert 0.93 < held / 1_000 < 0.97


@pytest.mark.parametrize(("value", "lowest", "highest"), [(0.0, 0, 1), (1.0, 0, 1), (-1.0, -1, 1)])
def test_all_alike_have_bounds_of_no_width(value: float, lowest: float, highest: float) -> None:
    one = daily_quality._mean("m", np.full(5, value), lowest, highest)
    assert (one.value, one.lower, one.upper, one.users) == (value, value, value, 5)


def test_bounds_end_where_values_can_be() -> None:
    one = daily_quality._mean("m", np.array([-1.0, 1.0]), -1, 1)
    assert (one.lower, one.upper) == (-1, 1)


@pytest.mark.parametrize(("of", "most"), [([1, 1, 2], 1), ([1, 2], 2), ([2, 1, 1, 2], 2), ([7], 7)])
def test_of_as_many_listeners_the_newer_publication_is_named(of: list[int], most: int) -> None:
    assert daily_quality._most_used_publication(np.array(of)) == most
