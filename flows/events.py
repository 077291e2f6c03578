"""What happened, told to Prefect's server as events, so that other deployments can begin by themselves.

An event is a convenience, never the only trace: what it tells also stands in the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from prefect.events import emit_event

from core.clock import utc_now
from flows.failures import has_server, notify
from flows.run import BatchResult
from notifications.notification import RUNBOOK, Notification
from recommender.monitoring.quality_monitor import OpenDriftAlarm

WAREHOUSE_PUBLISHED = "moovitamix.warehouse.published"
WAREHOUSE_UNCHANGED = "moovitamix.warehouse.unchanged"
ALARM_RAISED = "moovitamix.alarm.raised"
ALARM_ANSWERED = "moovitamix.alarm.answered"
DEGRADED = "moovitamix.recommendations.degraded"
AGED = "moovitamix.recommendations.aged"
_WAREHOUSE = {"prefect.resource.id": "moovitamix.warehouse", "prefect.resource.name": "warehouse"}
_RECOMMENDATIONS = {"prefect.resource.id": "moovitamix.recommendations", "prefect.resource.name": "recommendations"}


def emit_warehouse_published(outcomes: Sequence[BatchResult], behind: bool = False) -> bool:
    """Say that there is something to monitor and recommend by; nothing, when there is not. Returns whether there is.

    The batches are those that this run published. `behind`: the recommendations are older than the warehouse, as after
    a run that no lasting server heard of, or that was killed; then the event is emitted also when this run published
    nothing. Where no lasting server runs, the command that a person has to run next is printed instead.
    """
    batches = [
        one.batch.batch_id for one in outcomes if one.status == "published" and (behind or not one.published_earlier)
    ]
    if not batches and not behind:
        return False
    if has_server():
        emit_event(event=WAREHOUSE_PUBLISHED, resource=_WAREHOUSE, payload={"batches": batches})
    else:
        print_next_command("flows.recommend", "recommendations are older than what is published")
    return True


def emit_warehouse_unchanged(outcomes: Sequence[BatchResult]) -> None:
    """Say that an ingest ended well and found nothing new, so that nobody waits for more."""
    if all(one.is_published and (one.status != "published" or one.published_earlier) for one in outcomes):
        emit_event(event=WAREHOUSE_UNCHANGED, resource=_WAREHOUSE)


def print_next_command(command: str, why: str) -> None:
    """Name the command that nothing starts by itself, because no Prefect server with deployments runs."""
    print(f"next, as {why}: .venv/bin/python -m {command}", flush=True)


def notify_alarm(alarm: OpenDriftAlarm, *, new: bool) -> None:
    """Say it to people: told again it is the same alarm, of which they hear once. `new`: this run raised it."""
    told = Notification(
        key=f"quality:{alarm.alarm_id}",
        severity="warning",
        summary=f"the quality of recommendations fell: {alarm.metric}",
        detail=f"alarm {alarm.alarm_id}: {alarm.value:.4f}, usual is {alarm.baseline:.4f}, "
        f"publication {alarm.publication_id}",
        since=datetime(alarm.day.year, alarm.day.month, alarm.day.day, tzinfo=UTC),
        unaffected="the list that is live stays until a training finds a better one, which begins by itself.",
        next=f"{RUNBOOK}#quality-fell-a-drift-alarm",
    )
    if new or has_server():
        notify(ALARM_RAISED, f"moovitamix.alarm.{alarm.alarm_id}", told)


def notify_alarm_answered(answered: Sequence[tuple[int, str, str]], why: str) -> None:
    """Say which alarms, and on what metric, a training answered, how, and why so."""
    for alarm_id, metric, answer in answered:
        told = Notification(
            key=f"quality-answered:{alarm_id}",
            severity="warning",
            summary=f"the alarm on {metric} was answered: {answer}",
            detail=f"alarm {alarm_id}: {why}",
            since=utc_now(),
            unaffected="the list that was live." if answer == "kept" else "the list before, for a rollback.",
            next=f"{RUNBOOK}#a-drift-alarm-was-answered-with-kept" if answer == "kept" else "nothing to do.",
        )
        notify(ALARM_ANSWERED, f"moovitamix.alarm.{alarm_id}", told)


def emit_degraded(alarm: OpenDriftAlarm) -> None:
    """Say that the quality of what is live fell beyond chance, and that no training has answered it."""
    payload = {
        "alarm_id": alarm.alarm_id,
        "metric": alarm.metric,
        "value": alarm.value,
        "baseline": alarm.baseline,
        "statistic": alarm.statistic,
        "publication_id": alarm.publication_id,
        "day": str(alarm.day),
    }
    emit_event(event=DEGRADED, resource=_RECOMMENDATIONS, payload=payload)


def emit_aged(age_days: float) -> None:
    """Say that the plays which the live model has learned from ended long ago."""
    emit_event(event=AGED, resource=_RECOMMENDATIONS, payload={"age_days": age_days})
