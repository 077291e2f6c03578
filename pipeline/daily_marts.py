"""The marts of days, weeks and cohorts: adds and subtracts what changed, in the transaction of the change.

`mart.user_days` says on which days a user listened. The counts of active users and cohorts follow from it, so a change
of one session touches only the days and weeks of its user.

A new mart needs a migration (table and comments), its queries in `sql/marts/`, a call here, and entries in
`sql/rights.yaml` and `sql/lineage.yaml`.
"""

from __future__ import annotations

from core.database import Connection
from core.queries import compose_query, load_query
from pipeline.endpoint_tables import STAGING


def fill_daily_marts(connection: Connection, staged_table: str) -> None:
    """Count the new sessions of a staged batch in the empty marts.

    The caller holds the warehouse lock and is in the transaction that publishes the batch.
    """
    connection.execute(load_query("marts/daily.drop_primary_keys"))
    connection.execute(load_query("marts/first_load.group_by_sorting"))
    for query in ("fill_user_days", "fill_track_plays"):
        connection.execute(compose_query(f"marts/daily.{query}", staged=(STAGING, staged_table)))
    connection.execute(load_query("marts/first_load.reset_grouping"))
    for query in ("fill_activity", "fill_cohorts", "add_primary_keys"):
        connection.execute(load_query(f"marts/daily.{query}"))


def update_daily_marts(connection: Connection, staged_table: str) -> None:
    """Add the new sessions of a staged batch to the marts, and the changes of the tables `changed_...`.

    The caller holds the warehouse lock and is in the transaction that publishes the batch.
    """
    for query in ("create_activity_changes", "create_track_changes"):
        connection.execute(compose_query(f"marts/daily.{query}", staged=(STAGING, staged_table)))
    connection.execute(load_query("marts/daily.analyze_changes"))
    _apply_changes(connection)


def subtract_user(connection: Connection, user_id: int) -> int:
    """Subtract a user from the marts, in the transaction that erases the user, before the sessions are deleted.

    Returns the number of deleted rows of the user in `mart.user_days`.
    """
    for query in ("create_activity_changes_of_user", "create_track_changes_of_user"):
        connection.execute(load_query(f"marts/daily.{query}"), {"user_id": user_id})
    connection.execute(load_query("marts/daily.analyze_changes"))
    return _apply_changes(connection)


def _apply_changes(connection: Connection) -> int:
    """Apply `activity_changes` and `track_changes`. Returns the number of user days that lost all sessions."""
    connection.execute(load_query("marts/daily.create_counted_weeks"))
    connection.execute(load_query("marts/daily.analyze_counted_weeks"))
    connection.execute(load_query("marts/daily.count_cohorts"), {"sign": -1})
    for query in ("add_activity", "add_user_days"):
        connection.execute(load_query(f"marts/daily.{query}"))
    deleted = connection.execute(load_query("marts/daily.delete_inactive_days")).rowcount
    connection.execute(load_query("marts/daily.count_cohorts"), {"sign": 1})
    for query in ("delete_empty_activity", "delete_empty_cohorts", "add_track_plays", "delete_unplayed_tracks"):
        connection.execute(load_query(f"marts/daily.{query}"))
    connection.execute(load_query("marts/daily.drop_changes"))
    return deleted
