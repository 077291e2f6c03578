"""The CUSUM: a worked example, its statistical properties, and edge cases."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t

from recommender.monitoring.drift import CusumSettings, SelfStartingCusum


def readings(values: list[float], rule: CusumSettings | None = None) -> list[tuple[float, float, bool]]:
    cusum = SelfStartingCusum(rule or CusumSettings())
    results = [cusum.add(value) for value in values]
    return [(float(result.deviation[0]), float(result.statistic[0]), bool(result.alarm[0])) for result in results]


def test_values_of_an_example_calculated_by_hand() -> None:
    # 1, 2, 3 have the mean 2 and the standard deviation 1. The value 0 is 2 / sqrt(4/3) standard deviations below.
    deviation, statistic, alarm = readings([1, 2, 3, 0], CusumSettings(k=0.5, h=1, warm_up=3))[-1]
    expected = norm.ppf(t.cdf(-2 / np.sqrt(4 / 3), 2))
    assert deviation == pytest.approx(expected)
    assert statistic == pytest.approx(-expected - 0.5)
    assert alarm == (-expected - 0.5 > 1)


def test_no_alarm_during_the_warm_up() -> None:
    falling = [1.0, 0.9, 0.8, 0.5, 0.4, 0.3, 0.2, 0.1]
    assert not any(alarm for _, _, alarm in readings(falling, CusumSettings(warm_up=8)))


def test_deviations_are_standard_normal_while_nothing_changes() -> None:
    random, cusum = np.random.default_rng(1), SelfStartingCusum(CusumSettings(), 4_000)
    deviations = np.concatenate([cusum.add(random.normal(0.2, 0.03, 4_000)).deviation for _ in range(40)][2:])
    assert abs(deviations.mean()) < 0.01
    assert abs(deviations.std() - 1) < 0.01


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_deviations_do_not_depend_on_level_and_unit(scale: float) -> None:
    values = np.random.default_rng(2).normal(0.3, 0.05, 60)
    plain = readings(list(values))
    moved = readings(list(scale * values + 7 * scale))
    assert [deviation for deviation, *_ in moved][2:] == pytest.approx(
        [deviation for deviation, *_ in plain][2:], rel=1e-5, abs=1e-5
    )


def test_one_bad_value_raises_no_alarm_and_two_do() -> None:
    usual = list(np.random.default_rng(3).normal(0.2, 0.01, 30))
    assert not any(alarm for _, _, alarm in readings([*usual, 0.0]))
    assert readings([*usual, 0.0, 0.0])[-1][2]


def test_improvement_never_raises_an_alarm() -> None:
    usual = list(np.random.default_rng(4).normal(0.2, 0.01, 30))
    assert readings([*usual, *[0.9] * 30])[-1][1] == 0


def test_constant_values_are_handled() -> None:
    assert readings([0.5] * 40)[-1][1] == 0
    fell = readings([0.5] * 20 + [0.4, 0.4])
    assert np.isfinite([statistic for _, statistic, _ in fell]).all()
    assert fell[20][0] == -4


def test_histories_are_independent() -> None:
    values = np.random.default_rng(5).normal(0.2, 0.05, (50, 3))
    together = SelfStartingCusum(CusumSettings(), 3)
    statistics = np.stack([together.add(row).statistic for row in values])
    for history in range(3):
        single_statistics = [statistic for _, statistic, _ in readings(list(values[:, history]))]
        assert single_statistics == pytest.approx(list(statistics[:, history]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_value_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        SelfStartingCusum(CusumSettings()).add(value)


@pytest.mark.parametrize("weight", [0.0, -1.0, np.nan, np.inf])
def test_invalid_weight_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="the weight must be positive and finite"):
        SelfStartingCusum(CusumSettings()).add(0.5, weight)


def test_value_of_many_draws_has_less_spread() -> None:
    # 1 (one draw) and 4 (two draws) have the mean 3, and one draw has the spread sqrt(1 * 4 + 2 * 1) = sqrt(6).
    cusum = SelfStartingCusum(CusumSettings(k=0.5, h=1, warm_up=3))
    for value, draws in ((1, 1), (4, 2)):
        cusum.add(value, draws)
    results = cusum.add(0, 5)
    expected = norm.ppf(t.cdf(-3 / (np.sqrt(6) * np.sqrt(1 / 5 + 1 / 3)), 1))
    assert results.deviation[0] == pytest.approx(max(expected, -4))


def test_fewer_users_raise_no_alarm() -> None:
    """A mean of fewer users is noisier: 1,000 users a day for a month, then 250."""
    random, cusum = np.random.default_rng(6), SelfStartingCusum(CusumSettings(), 2_000)
    alarms = np.zeros(2_000, bool)
    for day in range(90):
        users = 1_000 if day < 30 else 250
        alarms |= cusum.add(random.normal(0.2, 0.25 / users**0.5, 2_000), users).alarm
    assert alarms.mean() < 0.1
