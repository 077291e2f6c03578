"""Events for Prefect's server, which start other deployments.

Events are only triggers. State lives in the database, so the next run recovers from a lost event.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prefect.events import emit_event

from core.clock import utc_now
from core.runbook import RUNBOOK
from flows.failures import has_server, notify
from flows.run import BatchResult
from notifications.notification import Notification

if TYPE_CHECKING:
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
    """Emit the event that starts `monitor` and `recommend`, if there is a reason. Return whether there is one.

    A reason is a batch that this run published, or `behind`: the recommendations are older than the warehouse, for
    example because an earlier run was killed or had no Prefect server. Without a Prefect server, print the next command
    instead.
    """
    batches = [
        outcome.batch.batch_id
        for outcome in outcomes
        if outcome.status == "published" and (behind or not outcome.published_earlier)
    ]
    if not batches and not behind:
        return False
    if has_server():
        emit_event(event=WAREHOUSE_PUBLISHED, resource=_WAREHOUSE, payload={"batches": batches})
    else:
        print_next_command("flows.recommend", "the recommendations are older than the published data")
    return True


def emit_warehouse_unchanged(outcomes: Sequence[BatchResult]) -> None:
    """Emit the event that an ingest found nothing new, so that "nothing published" raises no notification."""
    if all(
        outcome.is_published and (outcome.status != "published" or outcome.published_earlier) for outcome in outcomes
    ):
        emit_event(event=WAREHOUSE_UNCHANGED, resource=_WAREHOUSE)


def print_next_command(command: str, reason: str) -> None:
    """Print the command that a person must run, because no Prefect server starts it."""
    print(f"next, because {reason}: .venv/bin/python -m {command}", flush=True)


def notify_drift_alarm(alarm: OpenDriftAlarm, *, is_new: bool) -> None:
    """Notify about a drift alarm. The automation sends one message for all events of an alarm.

    Without a Prefect server, only the run that raised the alarm notifies (`is_new`).
    """
    notification = Notification(
        key=f"quality:{alarm.alarm_id}",
        severity="warning",
        summary=f"the quality of recommendations fell: {alarm.metric}",
        detail=f"alarm {alarm.alarm_id}: {alarm.value:.4f}, usually {alarm.baseline:.4f}, "
        f"publication {alarm.publication_id}",
        since=datetime(alarm.day.year, alarm.day.month, alarm.day.day, tzinfo=UTC),
        unaffected="the live recommendations, until a training finds a better model. It starts by itself.",
        next=f"{RUNBOOK}#quality-fell-a-drift-alarm",
    )
    if is_new or has_server():
        notify(ALARM_RAISED, f"moovitamix.alarm.{alarm.alarm_id}", notification)


def notify_alarms_answered(answers: Sequence[tuple[int, str, str]], reason: str) -> None:
    """Notify about the drift alarms that a training answered. An answer is alarm id, metric and decision."""
    for alarm_id, metric, decision in answers:
        is_kept = decision == "kept"
        notification = Notification(
            key=f"quality-answered:{alarm_id}",
            severity="warning",
            summary=f"the alarm on {metric} was answered: {decision}",
            detail=f"alarm {alarm_id}: {reason}",
            since=utc_now(),
            unaffected="the live recommendations." if is_kept else "the previous recommendations, for a rollback.",
            next=f"{RUNBOOK}#a-drift-alarm-was-answered-with-kept" if is_kept else "nothing to do.",
        )
        notify(ALARM_ANSWERED, f"moovitamix.alarm.{alarm_id}", notification)


def emit_degraded(alarm: OpenDriftAlarm) -> None:
    """Emit the event that starts a training for an open drift alarm."""
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
    """Emit the event that starts a training because the live model is old. `age_days` is the age of its newest play."""
    emit_event(event=AGED, resource=_RECOMMENDATIONS, payload={"age_days": age_days})
