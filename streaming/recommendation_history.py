"""The history of fresh recommendations, from which the quality monitor reads what users saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.database import Connection, readable_errors
from core.queries import load_query
from erasure.suppression_list import SUPPRESSION_LOCK, read_database
from recommender.monitoring.daily_quality import HISTORY_AGE, HISTORY_USERS

# At each call, so that the consumer stores messages in between.
_LISTS_PER_DELETE = 10_000


@dataclass(frozen=True)
class StreamedChange:
    """The newest change of a user's streamed sessions, and when the newest of these sessions began."""

    change_id: int
    newest_session_at: datetime

    def shown_from(self, as_of: datetime) -> datetime:
        """The first moment whose sessions can be compared with recommendations that include the change.

        It is always after the start of every session that they include, whatever the clock of the source.
        """
        return max(as_of, self.newest_session_at + timedelta(microseconds=1))


def add_to_history(
    connection: Connection, publication_id: int, changes: Mapping[int, StreamedChange], as_of: datetime
) -> None:
    """Add the fresh recommendations that were saved `as_of` a moment, by user. Raises psycopg.Error.

    Part of the transaction that saves them.
    """
    values = {
        "publication_id": publication_id,
        "user_ids": list(changes),
        "shown_from": [change.shown_from(as_of) for change in changes.values()],
        "as_of": as_of,
        "max_users": HISTORY_USERS,
    }
    connection.execute(load_query("stream/fresh_recommendations.add_to_history"), values)


def remove_fresh_recommendations(connection: Connection, now: datetime, *, of_live_publication: bool) -> bool:
    """Delete some fresh recommendations of publications that are not live, or of all, and add that to the history.

    Failures of publications that are not live are deleted too. Returns whether more may be left. Raises DatabaseError.
    """
    values = {"max_lists": _LISTS_PER_DELETE}
    query = "delete_all" if of_live_publication else "delete_other_publications"
    with readable_errors(), connection.transaction():
        connection.execute(load_query("stream/sessions.lock_suppression_list"), {"lock": SUPPRESSION_LOCK})
        rows = connection.execute(load_query(f"stream/fresh_recommendations.{query}"), values).fetchall()
        failures = connection.execute(load_query("stream/fresh_recommendations.delete_other_failures"), values).rowcount
        if rows:
            erased = read_database(connection).matching_ids(user_id for _, user_id in rows)
            add_removals(connection, [row for row in rows if row[1] not in erased], now)
    return max(len(rows), failures) == _LISTS_PER_DELETE


def add_removals(connection: Connection, lists: Sequence[tuple[int, int]], now: datetime) -> None:
    """Add the removal of lists, each of a publication and a user, to the history. Raises psycopg.Error.

    Part of the transaction that deletes them.
    """
    values = {
        "publication_ids": [publication_id for publication_id, _ in lists],
        "user_ids": [user_id for _, user_id in lists],
        "now": now,
    }
    connection.execute(load_query("stream/fresh_recommendations.add_removals"), values)


def prune_history(connection: Connection, now: datetime) -> None:
    """Delete the history that is too old, if the monitor did not. Raises DatabaseError."""
    with readable_errors():
        connection.execute(load_query("quality/fresh_history.prune_history"), {"before": now - HISTORY_AGE})
