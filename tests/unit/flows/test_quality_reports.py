"""Reports and events of a monitor run."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from flows import events, quality_reports
from flows.retrain import Degradation
from recommender.monitoring.daily_quality import DayMetric, DayQuality
from recommender.monitoring.quality_monitor import DayEvaluation, MetricStatus, OpenDriftAlarm

DAY = date(2026, 11, 22)
ALARM = OpenDriftAlarm("ndcg@20", DAY, 0.1, 0.25, 5.5, 3, alarm_id=4)
EVALUATIONS = [
    DayEvaluation(DayQuality(DAY, not_evaluated_reason="nobody played"), "not-judged", "not judged: nobody played"),
    DayEvaluation(
        DayQuality(
            DAY + timedelta(1),
            3,
            (
                DayMetric("ndcg@20", 1 / 3, 20, 0.2, 0.4),
                DayMetric("hit@20", 0.7, 20),
                DayMetric("useful", 0.5, 10),
            ),
        ),
        "alarm",
        "ndcg@20 fell",
        (MetricStatus("ndcg@20", "alarm"), MetricStatus("useful", "gathering")),
    ),
]


@pytest.fixture
def artifacts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The created artifacts, by key."""
    shown: dict[str, Any] = {}
    monkeypatch.setattr(
        quality_reports, "create_table_artifact", lambda key, table, description: shown.update({key: table})
    )
    monkeypatch.setattr(
        quality_reports, "create_markdown_artifact", lambda markdown, key, description: shown.update({key: markdown})
    )
    return shown


def test_metrics_are_rows_with_monitored_metrics_first(artifacts: dict[str, Any]) -> None:
    quality_reports.show_quality(EVALUATIONS, [], [])
    rows = artifacts["monitor-quality"]
    assert {tuple(row) for row in rows} == {("day", "metric", "value", "between", "users", "watched")}
    assert [tuple(row.values())[1:] for row in rows] == [
        ("ndcg@20", 0.3333, "0.2000 and 0.4000", 20, "alarm"),
        ("useful", 0.5, "", 10, "gathering"),
        ("hit@20", 0.7, "", 20, ""),
    ]


def test_summary_without_new_days_names_open_alarms(artifacts: dict[str, Any]) -> None:
    quality_reports.show_quality([], [ALARM], [{"day": DAY, "kind": "day", "verdict": "alarm", "model_run_id": None}])
    assert artifacts.keys() == {"monitor-decisions", "monitor-verdict"}
    assert artifacts["monitor-decisions"] == [
        {"day": "2026-11-22", "kind": "day", "verdict": "alarm", "model_run_id": ""}
    ]
    assert "- no new day to evaluate" in artifacts["monitor-verdict"]
    assert "alarm 4 of 2026-11-22: ndcg@20 fell from 0.2500 to 0.1000" in artifacts["monitor-verdict"]


def test_command_prints_one_line_for_each_day_and_alarm(capsys: pytest.CaptureFixture[str]) -> None:
    quality_reports.print_quality(EVALUATIONS, [ALARM])
    assert capsys.readouterr().out.splitlines() == [
        "2026-11-22: not-judged: nobody played",
        "2026-11-23: alarm: ndcg@20 fell",
        "alarm 4 of 2026-11-22: ndcg@20 fell from 0.2500 to 0.1000; a training is requested",
    ]


def test_command_without_a_new_day_prints_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    quality_reports.print_quality([], [])
    assert capsys.readouterr().out == "no new day to evaluate: every past day has an evaluation\n"


def test_event_of_an_alarm_is_the_parameter_of_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    emitted: list[dict[str, Any]] = []
    monkeypatch.setattr(events, "emit_event", lambda **values: emitted.append(values))
    events.emit_degraded(ALARM)
    (event,) = emitted
    assert event["event"] == "moovitamix.recommendations.degraded"
    assert event["resource"]["prefect.resource.id"] == "moovitamix.recommendations"
    assert event["payload"] == {
        "alarm_id": 4,
        "metric": "ndcg@20",
        "value": 0.1,
        "baseline": 0.25,
        "statistic": 5.5,
        "publication_id": 3,
        "day": "2026-11-22",
    }
    degradation = Degradation(**event["payload"])
    assert (degradation.alarm_id, degradation.day) == (4, DAY)


def test_training_refuses_unknown_fields_of_an_alarm() -> None:
    with pytest.raises(ValueError, match="Extra inputs"):
        Degradation(**vars(ALARM), sender="somebody")
