"""Reconciliation of streamed sessions with the snapshot that was read from the API: the snapshot wins."""

from __future__ import annotations

from datetime import datetime, timedelta

from core.database import Connection, readable_errors
from core.queries import load_query

_SESSIONS_PER_DELETE = 10_000


def reconcile_streamed_sessions(
    connection: Connection, batch_id: str, *, unconfirmed_days: float, now: datetime
) -> None:
    """Confirm the streamed sessions that the warehouse has, drop those without a snapshot in time, and count both.

    Part of the transaction that publishes the batch, so each session counts once at any moment. Raises psycopg.Error.
    """
    values = {"batch_id": batch_id, "before": now - timedelta(days=unconfirmed_days), "now": now}
    connection.execute(load_query("stream/reconcile_sessions"), values)


def delete_confirmed_sessions(connection: Connection, *, confirmed_days: float, now: datetime) -> int:
    """Delete confirmed sessions that were received more than so many days ago. Returns how many.

    Each transaction deletes a limited number, so that the consumer never waits long. Raises DatabaseError.
    """
    values = {"before": now - timedelta(days=confirmed_days), "max_sessions": _SESSIONS_PER_DELETE}
    query = load_query("stream/reconciliation.delete_confirmed")
    deleted = 0
    with readable_errors():
        while count := connection.execute(query, values).rowcount:
            deleted += count
    return deleted
