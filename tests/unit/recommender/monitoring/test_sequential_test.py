"""The comparison of two groups of users at every look: by hand, and by short simulations."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import pytest

from benchmarks.experiments import LIFT, Scenario, simulate
from recommender.monitoring.sequential_test import EXPECTED_CHANGE, UserTotals, compare


def totals(control: list[list[float]], treatment: list[list[float]]) -> UserTotals:
    """Totals of users, each with a list of observations."""
    users = [*control, *treatment]
    return UserTotals(
        np.array([False] * len(control) + [True] * len(treatment)),
        np.array([len(values) for values in users]),
        np.array([sum(values) for values in users], np.float64),
        np.array([sum(value**2 for value in values) for values in users], np.float64),
    )


def test_bounds_of_single_observations_by_hand() -> None:
    control, treatment = [[0.0], [1.0]] * 100, [[0.0], [1.0], [1.0], [1.0]] * 50
    result = compare(totals(control, treatment), 0.05)
    assert result and result.upper is not None
    assert (result.control, result.treatment) == (pytest.approx(0.5), pytest.approx(0.75))
    information = 1 / ((0.25 + 0.1875) / 199)
    prior = 1 / (EXPECTED_CHANGE * 0.625) ** 2
    margin = sqrt((information + prior) * log((information + prior) / (prior * 0.05**2))) / information
    assert result.upper - result.difference == pytest.approx(margin)


def test_user_who_differs_for_ever_counts_once() -> None:
    """Each user always has the same value: a hundred days tell no more than one."""
    users = [[value] for value in [0.0, 1.0] * 100]
    once, often = (compare(totals([u * n for u in users], [u * n for u in users]), 0.05) for n in (1, 100))
    assert once and often and once.upper and often.upper
    assert often.upper == pytest.approx(once.upper, rel=0.01)


def test_days_of_users_who_are_alike_count_each() -> None:
    rng = np.random.default_rng(1)
    days = [rng.random(9).tolist() for _ in range(400)]
    many = compare(totals(days[:200], days[200:]), 0.05)
    single_day = compare(totals([user[:1] for user in days[:200]], [user[:1] for user in days[200:]]), 0.05)
    assert single_day and many and single_day.upper and many.upper
    assert many.upper - many.difference < 0.5 * (single_day.upper - single_day.difference)


@pytest.mark.parametrize(("control", "treatment"), [([], [[1.0]]), ([[1.0]], []), ([[]], [[1.0]]), ([], [])])
def test_group_without_values_is_not_compared(control: list[list[float]], treatment: list[list[float]]) -> None:
    assert compare(totals(control, treatment), 0.05) is None


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_values_have_no_bounds(value: float) -> None:
    result = compare(totals([[value]] * 200, [[value]] * 200), 0.05)
    assert result
    assert (result.difference, result.lower, result.is_better, result.is_worse) == (0, None, False, False)


def test_few_users_have_no_bounds() -> None:
    result = compare(totals([[0.0]] * 99, [[1.0]] * 500), 0.05)
    assert result
    assert (result.difference, result.lower) == (1, None)


def test_daily_looks_are_seldom_wrong_where_a_test_of_each_day_is() -> None:
    outcomes = simulate(Scenario("", 400, likeness=0), 0, 60)
    assert outcomes.false_positives <= 5
    assert outcomes.naive_false_positives > 40


def test_difference_is_found() -> None:
    outcomes = simulate(Scenario("", 8_000), LIFT, 10)
    assert outcomes.power == 100
    assert not any(outcomes.worse)
