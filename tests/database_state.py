"""Invariants of the database, and its content in a form that tests can compare."""

from __future__ import annotations

from typing import Any

from tests.conftest import Query

# Columns about the run, not about its result.
_RUN_COLUMNS = {"started_at", "finished_at", "read_in_run"}
TABLES = (
    *("warehouse.users", "warehouse.tracks", "warehouse.listen_history", "warehouse.listen_history_tracks"),
    *("mart.dim_users", "mart.dim_tracks", "mart.fact_listens", "mart.user_track_plays"),
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
