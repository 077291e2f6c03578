"""What happened, told to Prefect's server as events, so that other deployments can begin by themselves.

An event is a convenience, never the only trace: what it tells also stands in the database.
"""

from __future__ import annotations

from collections.abc import Sequence

from prefect.events import emit_event

from flows.run import Outcome

WAREHOUSE_PUBLISHED = "moovitamix.warehouse.published"
_WAREHOUSE = {"prefect.resource.id": "moovitamix.warehouse", "prefect.resource.name": "warehouse"}


def tell_warehouse_published(outcomes: Sequence[Outcome]) -> None:
    """Say which batches this run put into the warehouse; nothing, when there were none."""
    batches = [one.batch.batch_id for one in outcomes if one.status == "published" and not one.earlier]
    if batches:
        emit_event(event=WAREHOUSE_PUBLISHED, resource=_WAREHOUSE, payload={"batches": batches})
