"""Invariants of the database, and its content in a form that tests can compare."""

from __future__ import annotations

from typing import Any

from tests.conftest import Query

# Columns about the run, not about its result.
_RUN_COLUMNS = {"started_at", "finished_at", "read_in_run"}
_SESSIONS_BY_DAY = """
    select session.user_id, (session.created_at at time zone 'UTC')::date as day, count(*) as sessions,
        coalesce(sum((select count(*) from warehouse.listen_history_tracks as play
            where play.listen_history_id = session.id and play.created_at = session.created_at)), 0)::bigint as plays
    from warehouse.listen_history as session
    where session.removed_at is null
    group by 1, 2
"""
# For each incremental mart, its columns and a query that computes them from all sessions.
_RECOMPUTED_MARTS = {
    "user_days": ("user_id, day, sessions, plays", _SESSIONS_BY_DAY),
    "daily_activity": (
        "day, users, sessions, plays",
        f"select day, count(distinct user_id), sum(sessions)::bigint, sum(plays)::bigint"
        f" from ({_SESSIONS_BY_DAY}) as days group by day",
    ),
    "daily_track_plays": (
        "day, track_id, plays",
        "select (listened_at at time zone 'UTC')::date, track_id, count(*) from mart.fact_listens group by 1, 2",
    ),
    "weekly_cohorts": (
        "cohort_week, week, users",
        "with weeks as (select distinct user_id, date_trunc('week', day)::date as week"
        f" from ({_SESSIONS_BY_DAY}) as days)"
        " select first_week, week, count(*) from weeks"
        " join (select user_id, min(week) as first_week from weeks group by user_id) as cohorts using (user_id)"
        " group by 1, 2",
    ),
}
TABLES = (
    *("warehouse.users", "warehouse.tracks", "warehouse.listen_history", "warehouse.listen_history_tracks"),
    *("mart.dim_users", "mart.dim_tracks", "mart.fact_listens", "mart.user_track_plays"),
    *("mart.user_days", "mart.daily_activity", "mart.daily_track_plays", "mart.weekly_cohorts"),
    *("ops.batches", "ops.expectation_results", "ops.rejected_rows", "ops.quarantined_rows"),
)


def assert_rows_add_up(query: Query) -> None:
    """Every landed row is counted once, every rejected row is stored, and the marts agree with the warehouse."""
    miscounted = query(
        "select batch_id, rows_landed, rows_rejected, rows_erased, rows_duplicate, rows_superseded, rows_conflicting,"
        " rows_unchanged, rows_staged from ops.batches where rows_landed <> rows_rejected + rows_erased"
        " + rows_duplicate + rows_superseded + rows_conflicting + rows_unchanged + rows_staged"
    )
    assert miscounted == []
    not_stored = query(
        "select batch_id from ops.batches as b"
        " where rows_rejected + rows_superseded + rows_conflicting <> (select count(*) from ops.rejected_rows as r"
        " where r.batch_id = b.batch_id and play_position is null)"
    )
    assert not_stored == []
    differing = query(
        "select user_id, track_id, count(*)::int, min(listened_at), max(listened_at)"
        " from mart.fact_listens group by 1, 2"
        " except select user_id, track_id, plays, first_played_at, last_played_at from mart.user_track_plays"
    )
    assert differing == []
    assert query("select count(*) from mart.user_track_plays") == query(
        "select count(*) from (select distinct user_id, track_id from mart.fact_listens) as pairs"
    )

    assert_daily_marts_are_exact(query)


def assert_daily_marts_are_exact(query: Query) -> None:
    """The incremental marts of days and weeks equal a recomputation from all sessions."""
    for table, recomputed in _RECOMPUTED_MARTS.items():
        columns, source = recomputed
        stored = query(f"select {columns} from mart.{table}")
        assert sorted(stored) == sorted(query(source)), table


def database_state(query: Query) -> dict[str, Any]:
    """The sorted rows of every table, without the columns about runs."""
    return {table: _rows(query, table) for table in TABLES}


def _rows(query: Query, table: str) -> list[tuple[Any, ...]]:
    schema, name = table.split(".")
    columns = query(
        "select column_name from information_schema.columns where table_schema = %s and table_name = %s", schema, name
    )
    selected = ", ".join(f'"{column}"::text' for (column,) in sorted(columns) if column not in _RUN_COLUMNS)
    return sorted(query(f"select {selected} from {table}"), key=repr)
