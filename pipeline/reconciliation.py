"""Reconciliation of streamed sessions with the snapshot that was read from the API: the snapshot wins."""

from __future__ import annotations

from datetime import datetime, timedelta

from core.database import Connection
from core.queries import load_query


def reconcile_streamed_sessions(
    connection: Connection, batch_id: str, *, unconfirmed_days: float, now: datetime
) -> None:
    """Confirm the streamed sessions that the warehouse has, drop those that no snapshot had in time, and count both.

    Part of the transaction that publishes the batch, so each session counts once at any moment. Raises psycopg.Error.
    """
    values = {"batch_id": batch_id, "before": now - timedelta(days=unconfirmed_days), "now": now}
    connection.execute(load_query("stream/reconcile_sessions"), values)
    connection.execute(load_query("stream/reconciliation.delete_confirmed"), values)
