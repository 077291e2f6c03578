"""The alarm on falling quality: a worked example, what it promises of any history, and its odd cases."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t

from recommender.monitoring.drift import CusumSettings, SelfStartingCusum


def readings(values: list[float], rule: CusumSettings | None = None) -> list[tuple[float, float, bool]]:
    watch = SelfStartingCusum(rule or CusumSettings())
    told = [watch.add(value) for value in values]
    return [(float(one.deviation[0]), float(one.statistic[0]), bool(one.alarm[0])) for one in told]


def test_a_worked_example() -> None:
    # Of 1, 2, 3 the mean is 2 and the standard deviation 1; 0 lies 2 / sqrt(4/3) of it below.
    deviation, statistic, alarm = readings([1, 2, 3, 0], CusumSettings(k=0.5, h=1, warm_up=3))[-1]
    expected = norm.ppf(t.cdf(-2 / np.sqrt(4 / 3), 2))
    assert deviation == pytest.approx(expected)
    assert statistic == pytest.approx(-expected - 0.5)
    assert alarm == (-expected - 0.5 > 1)


def test_nothing_is_said_before_the_warm_up_is_over() -> None:
    falling = [1.0, 0.9, 0.8, 0.5, 0.4, 0.3, 0.2, 0.1]
    assert not any(alarm for _, _, alarm in readings(falling, CusumSettings(warm_up=8)))


def test_deviations_are_standard_normal_while_nothing_changes() -> None:
    random, watch = np.random.default_rng(1), SelfStartingCusum(CusumSettings(), 4_000)
    seen = np.concatenate([watch.add(random.normal(0.2, 0.03, 4_000)).deviation for _ in range(40)][2:])
    assert abs(seen.mean()) < 0.01
    assert abs(seen.std() - 1) < 0.01


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_neither_the_level_nor_the_unit_matters(scale: float) -> None:
    values = np.random.default_rng(2).normal(0.3, 0.05, 60)
    plain = readings(list(values))
    moved = readings(list(scale * values + 7 * scale))
    assert [one[0] for one in moved][2:] == pytest.approx([one[0] for one in plain][2:], rel=1e-5, abs=1e-5)


def test_one_terrible_value_alone_is_no_alarm_and_two_are() -> None:
    usual = list(np.random.default_rng(3).normal(0.2, 0.01, 30))
    assert not any(alarm for _, _, alarm in readings([*usual, 0.0]))
    assert readings([*usual, 0.0, 0.0])[-1][2]


def test_better_is_never_an_alarm() -> None:
    usual = list(np.random.default_rng(4).normal(0.2, 0.01, 30))
    assert readings([*usual, *[0.9] * 30])[-1][1] == 0


def test_values_that_never_differed() -> None:
    assert readings([0.5] * 40)[-1][1] == 0
    fell = readings([0.5] * 20 + [0.4, 0.4])
    assert np.isfinite([one[1] for one in fell]).all()
    assert fell[20][0] == -4


def test_many_histories_are_each_judged_as_if_alone() -> None:
    values = np.random.default_rng(5).normal(0.2, 0.05, (50, 3))
    together = SelfStartingCusum(CusumSettings(), 3)
    statistics = np.stack([together.add(row).statistic for row in values])
    for history in range(3):
        alone = [one[1] for one in readings(list(values[:, history]))]
        assert alone == pytest.approx(list(statistics[:, history]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        SelfStartingCusum(CusumSettings()).add(value)


def test_a_value_of_many_draws_is_held_to_less_spread() -> None:
    # Of 1 (one draw) and 4 (two draws) the mean is 3 and the spread of one draw sqrt(1 * 4 + 2 * 1) = sqrt(6).
    watch = SelfStartingCusum(CusumSettings(k=0.5, h=1, warm_up=3))
    for value, draws in ((1, 1), (4, 2)):
        watch.add(value, draws)
    told = watch.add(0, 5)
    expected = norm.ppf(t.cdf(-3 / (np.sqrt(6) * np.sqrt(1 / 5 + 1 / 3)), 1))
    assert told.deviation[0] == pytest.approx(max(expected, -4))


def test_fewer_listeners_than_before_are_no_alarm() -> None:
    """Noise of a mean grows when it is of fewer: 1,000 a day for a month, then 250."""
    random, watch = np.random.default_rng(6), SelfStartingCusum(CusumSettings(), 2_000)
    alarms = np.zeros(2_000, bool)
    for day in range(90):
        listeners = 1_000 if day < 30 else 250
        alarms |= watch.add(random.normal(0.2, 0.25 / listeners**0.5, 2_000), listeners).alarm
    assert alarms.mean() < 0.1
