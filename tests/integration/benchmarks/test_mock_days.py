"""Days of the mock API: their values, and the alarms of the drift detector."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.monitoring.detection import share_within
from benchmarks.monitoring.mock_days import Days, MockPopulation, evaluate_days
from benchmarks.monitoring.studies import MOCK, NAIVE, SOME_USERS, Studies, detector

SMALL = MockPopulation(users=600, tracks=400, sessions_a_day=120, training_days=20, days=21)


@pytest.fixture(scope="module")
def days() -> Days:
    return evaluate_days(SMALL, lambda text: None)


def test_days_are_evaluated_by_first_plays(days: Days) -> None:
    assert len(days) == SMALL.days
    assert all(50 < len(values) < 120 for values in days), "about as many users as sessions; not all play a new track"
    all_days = np.concatenate(days)
    assert all_days.min() == 0
    assert all_days.max() <= 1
    assert 0.02 < all_days.mean() < 0.6, "recommendations are better than chance, and nothing leaks into them"


def test_short_run_detects_the_same_faults_as_the_long_run(days: Days) -> None:
    studies = Studies(days, 200, lambda text: None)
    group = studies.groups[MOCK, SOME_USERS]
    assert share_within(group.false_alarms(detector), 90) < 0.15
    assert share_within(group.false_alarms(studies.rules(SOME_USERS)[NAIVE]), 90) > 0.5
    detection = group.detect(detector, 0.2, 60)
    assert detection.share > 0.95
    assert detection.within() <= 7
