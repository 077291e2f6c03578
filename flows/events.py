"""What happened, told to Prefect's server as events, so that other deployments can begin by themselves.

An event is a convenience, never the only trace: what it tells also stands in the database.
"""

from __future__ import annotations

from collections.abc import Sequence

from prefect.events import emit_event

from flows.run import Outcome
from recommender.monitoring import Alarm

WAREHOUSE_PUBLISHED = "moovitamix.warehouse.published"
DEGRADED = "moovitamix.recommendations.degraded"
AGED = "moovitamix.recommendations.aged"
_WAREHOUSE = {"prefect.resource.id": "moovitamix.warehouse", "prefect.resource.name": "warehouse"}
_RECOMMENDATIONS = {"prefect.resource.id": "moovitamix.recommendations", "prefect.resource.name": "recommendations"}


def tell_warehouse_published(outcomes: Sequence[Outcome], behind: bool = False) -> None:
    """Say which batches this run put into the warehouse; nothing, when there were none.

    `behind`: an earlier run had no time to say it of its own, as no list was made since.
    """
    batches = [one.batch.batch_id for one in outcomes if one.status == "published" and (behind or not one.earlier)]
    if batches:
        emit_event(event=WAREHOUSE_PUBLISHED, resource=_WAREHOUSE, payload={"batches": batches})


def tell_degraded(alarm: Alarm) -> None:
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


def tell_aged(age_days: float) -> None:
    """Say that the plays which the live model has learned from ended long ago."""
    emit_event(event=AGED, resource=_RECOMMENDATIONS, payload={"age_days": age_days})
