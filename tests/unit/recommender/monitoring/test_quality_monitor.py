"""How days are put together, and what a verdict says in words."""

from __future__ import annotations

from datetime import date

import pytest

from recommender.monitoring import quality_monitor
from recommender.monitoring.drift import CusumSettings
from recommender.monitoring.quality_monitor import DayStatus, MetricMean, MetricStatus, MonitoringSettings

RULES = MonitoringSettings(plays=CusumSettings(h=5), useful=CusumSettings(h=6.5))


@pytest.mark.parametrize(
    ("series", "merged", "gathered"),
    [
        ([], [], 0),
        ([(0.5, 9)], [], 9),
        ([(0.5, 10)], [(0.5, 10)], 0),
        ([(0.5, 25), (0.1, 10)], [(0.5, 25), (0.1, 10)], 0),
        ([(0.5, 4), (0.2, 6), (0.9, 1)], [((0.5 * 4 + 0.2 * 6) / 10, 10)], 1),
        ([(0.5, 9), (0.3, 9), (0.1, 9), (0.2, 1)], [(0.4, 18), ((0.1 * 9 + 0.2) / 10, 10)], 0),
    ],
)
def test_days_are_put_together_until_there_are_enough_listeners(
    series: list[tuple[float, int]], merged: list[tuple[float, int]], gathered: int
) -> None:
    found, left = quality_monitor._merged([MetricMean(*one) for one in series], 10)
    assert [one.value for one in found] == pytest.approx([value for value, _ in merged])
    assert [one.users for one in found] == [listeners for _, listeners in merged]
    assert left == gathered


def test_each_metric_has_its_rule() -> None:
    assert (RULES.cusum_settings("ndcg@20").h, RULES.cusum_settings("useful").h) == (5, 6.5)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("gathering", "useful: 1,150 of the 200 users that a verdict needs; the next day is added"),
        ("warming-up", "useful 0.5000: warm-up, 3 of 14 values"),
        (
            "steady",
            "useful 0.5000, baseline 0.6000: cumulative fall of 7.1 standard deviations, the alarm threshold is 6.5",
        ),
        ("unanswered", "the alarm threshold is 6.5; the previous alarm still waits for a training"),
        (
            "cooling-down",
            "a training kept the champion, so no alarm is raised up to 2026-11-22",
        ),
    ],
)
def test_a_verdict_explain(verdict: DayStatus, words: str) -> None:
    watch = MetricStatus("useful", verdict, 3, 1150, 0.5, 0.6, 7.1)
    assert quality_monitor._explain(watch, RULES, date(2026, 11, 22)).endswith(words)


def test_the_verdict_on_a_day_is_the_one_that_matters_most() -> None:
    assert DayStatus.__args__ == quality_monitor._STATUSES  # type: ignore[attr-defined]
    assert quality_monitor._STATUSES[0] == "alarm"
    assert quality_monitor._STATUSES[-1] == "not-judged"
