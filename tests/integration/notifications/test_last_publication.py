"""The watchdog reads the time of the last publication from a real database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from core.database import connect
from notifications.health_checks import last_publication_time

START = datetime(2026, 11, 22, 4, tzinfo=UTC)


def test_empty_database_has_no_last_publication(empty_database: str) -> None:
    assert last_publication_time(empty_database, START) is None


def test_publication_in_the_future_does_not_count(database: str) -> None:
    """Otherwise no missing publication would be notified for months."""
    with connect(database) as connection:
        for number, finished_at in enumerate((START - timedelta(days=3), START + timedelta(days=190)), 1):
            connection.execute(
                "insert into ops.batches (batch_id, endpoint, day, revision, source, status, started_at, finished_at)"
                " values (%s, 'tracks', %s, %s, 's', 'published', %s, %s)",
                [str(number), finished_at, number, finished_at, finished_at],
            )
    assert last_publication_time(database, START) == START - timedelta(days=3)
    assert last_publication_time(database, START + timedelta(days=190)) == START + timedelta(days=190)
