"""How days are merged, and how verdicts are explained."""

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
def test_days_are_merged_until_they_have_enough_users(
    series: list[tuple[float, int]], merged: list[tuple[float, int]], gathered: int
) -> None:
    merged_means, remaining_users = quality_monitor._merged([MetricMean(*mean) for mean in series], 10)
    assert [mean.value for mean in merged_means] == pytest.approx([value for value, _ in merged])
    assert [mean.users for mean in merged_means] == [users for _, users in merged]
    assert remaining_users == gathered


def test_each_metric_has_its_cusum_settings() -> None:
    assert (RULES.cusum_settings("ndcg@20").h, RULES.cusum_settings("useful").h) == (5, 6.5)


@pytest.mark.parametrize(
    ("verdict", "text"),
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
def test_each_verdict_is_explained(verdict: DayStatus, text: str) -> None:
    status = MetricStatus("useful", verdict, 3, 1150, 0.5, 0.6, 7.1)
    assert quality_monitor._explain(status, RULES, date(2026, 11, 22)).endswith(text)


def test_verdicts_are_ordered_by_importance() -> None:
    assert DayStatus.__args__ == quality_monitor._STATUSES  # type: ignore[attr-defined]
    assert quality_monitor._STATUSES[0] == "alarm"
    assert quality_monitor._STATUSES[-1] == "not-judged"
