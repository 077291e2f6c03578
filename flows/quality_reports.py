"""Reports of the monitor: artifacts in Prefect's UI, and lines in the log. They name no user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from recommender.monitoring.quality_monitor import DayEvaluation, OpenDriftAlarm


def show_quality(
    evaluations: Sequence[DayEvaluation], alarms: Sequence[OpenDriftAlarm], decisions: Sequence[dict[str, Any]]
) -> None:
    """Create the artifacts of a run: metrics of the evaluated days, latest decisions, and a summary."""
    if evaluations:
        create_table_artifact(
            key="monitor-quality",
            table=_metric_rows(evaluations),
            description="Metrics by day. Watched metrics can raise an alarm; the others help to explain it.",
        )
    if decisions:
        create_table_artifact(
            key="monitor-decisions",
            table=[
                {name: "" if value is None else str(value) for name, value in decision.items()}
                for decision in decisions
            ],
            description="Latest decisions about days and trainings, newest first.",
        )
    create_markdown_artifact(
        _summary(evaluations, alarms),
        key="monitor-verdict",
        description="Are the recommendations as good as they were?",
    )


def describe_evaluations(evaluations: Sequence[DayEvaluation]) -> str:
    """Describe each evaluated day: its verdict and the reason."""
    days = [f"{evaluation.quality.day}: {evaluation.verdict}: {_reason(evaluation)}" for evaluation in evaluations]
    return "; ".join(days) or "no new day to evaluate"


def print_quality(evaluations: Sequence[DayEvaluation], alarms: Sequence[OpenDriftAlarm]) -> None:
    """Print one line for each evaluated day, and one for each open drift alarm."""
    for evaluation in evaluations:
        print(f"{evaluation.quality.day}: {evaluation.verdict}: {_reason(evaluation)}", flush=True)
    if not evaluations:
        print("no new day to evaluate: every past day has an evaluation", flush=True)
    for alarm in alarms:
        print(_alarm(alarm), flush=True)


def _metric_rows(evaluations: Sequence[DayEvaluation]) -> list[dict[str, Any]]:
    """Return one row for each day and metric, watched metrics first."""
    return [
        {
            "day": str(evaluation.quality.day),
            "metric": metric.name,
            "value": round(metric.value, 4),
            "between": "" if metric.lower is None else f"{metric.lower:.4f} and {metric.upper:.4f}",
            "users": metric.users or "",
            "watched": statuses[metric.name].verdict if metric.name in statuses else "",
        }
        for evaluation in evaluations
        for statuses in [{status.metric: status for status in evaluation.metric_statuses}]
        for metric in sorted(evaluation.quality.metrics, key=lambda metric: metric.name not in statuses)
    ]


def _summary(evaluations: Sequence[DayEvaluation], alarms: Sequence[OpenDriftAlarm]) -> str:
    days = [
        f"- {evaluation.quality.day}: **{evaluation.verdict}**. {_reason(evaluation)}" for evaluation in evaluations
    ] or ["- no new day to evaluate"]
    open_alarms = [f"- {_alarm(alarm)}" for alarm in alarms] or ["- none"]
    return "\n".join(["## Days", "", *days, "", "## Drift alarms that need a training", "", *open_alarms, ""])


def _reason(evaluation: DayEvaluation) -> str:
    """The reason without the words that repeat the verdict."""
    return evaluation.why.removeprefix("not judged: ")


def _alarm(alarm: OpenDriftAlarm) -> str:
    return (
        f"alarm {alarm.alarm_id} of {alarm.day}: {alarm.metric} fell from {alarm.baseline:.4f} to {alarm.value:.4f}; "
        "a training is requested"
    )
