"""What the monitor tells people: artifacts in Prefect's UI, lines in the log. Shares and counts only, no listener."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from recommender.monitoring.quality_monitor import DayEvaluation, OpenDriftAlarm


def show_quality(
    judged: Sequence[DayEvaluation], alarms: Sequence[OpenDriftAlarm], decisions: Sequence[dict[str, Any]]
) -> None:
    """The metrics of the days just judged, what was decided lately, and the verdict, as artifacts of the run."""
    if judged:
        create_table_artifact(
            key="monitor-quality",
            table=_figures(judged),
            description="What was measured of each day: some are watched for alarms, the others tell why they fell.",
        )
    if decisions:
        create_table_artifact(
            key="monitor-decisions",
            table=[{name: "" if value is None else str(value) for name, value in one.items()} for one in decisions],
            description="What was decided lately about days and trainings, newest first.",
        )
    create_markdown_artifact(
        _verdict(judged, alarms), key="monitor-verdict", description="Is what we recommend as good as it was?"
    )


def print_quality(judged: Sequence[DayEvaluation], alarms: Sequence[OpenDriftAlarm]) -> None:
    """Print one line per day that was judged, and one per alarm that waits."""
    for one in judged:
        print(f"{one.quality.day}: {one.verdict}: {one.why}", flush=True)
    if not judged:
        print("no day to judge: none is over that was not judged before", flush=True)
    for alarm in alarms:
        print(_alarm(alarm), flush=True)


def _figures(judged: Sequence[DayEvaluation]) -> list[dict[str, Any]]:
    """One row per day and metric, those that are watched for alarms first."""
    return [
        {
            "day": str(one.quality.day),
            "metric": metric.name,
            "value": round(metric.value, 4),
            "between": "" if metric.lower is None else f"{metric.lower:.4f} and {metric.upper:.4f}",
            "listeners": metric.users or "",
            "watched": watches[metric.name].verdict if metric.name in watches else "",
        }
        for one in judged
        for watches in [{watch.metric: watch for watch in one.metric_statuses}]
        for metric in sorted(one.quality.metrics, key=lambda metric: metric.name not in watches)
    ]


def _verdict(judged: Sequence[DayEvaluation], alarms: Sequence[OpenDriftAlarm]) -> str:
    days = [f"- {one.quality.day}: **{one.verdict}**. {one.why}" for one in judged] or ["- no new day to judge"]
    waiting = [f"- {_alarm(alarm)}" for alarm in alarms] or ["- none"]
    return "\n".join(["## Days", "", *days, "", "## Alarms that wait for a training", "", *waiting, ""])


def _alarm(alarm: OpenDriftAlarm) -> str:
    return (
        f"alarm {alarm.alarm_id} of {alarm.day}: {alarm.metric} fell from {alarm.baseline:.4f} to {alarm.value:.4f}, "
        "a training is asked for"
    )
