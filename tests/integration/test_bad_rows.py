"""Malformed rows of each kind in a complete ingest: rows are published or rejected with a reason; none is lost."""

from __future__ import annotations

import pytest

from flows.ingest import main
from tests.conftest import SESSIONS, TRACKS, USERS, MockApi, Query
from tests.database_state import assert_rows_add_up

pytestmark = pytest.mark.usefixtures("prefect_server", "environment")

DAY = "2026-11-20"
TOTALS = {"tracks": TRACKS, "users": USERS, "listen_history": SESSIONS}
ID = {"tracks": "id", "users": "id", "listen_history": "user_id"}

# Kind -> reason in all three endpoints; {id} stands for the name of the id field.
REJECTED = {
    "id_null": "{id}: expected int, got null",
    "id_missing": "{id}: missing",
    "id_text": "{id}: expected int, got str",
    "id_float": "{id}: expected int, got float",
    "id_negative": "{id}: expected int >= 0",
    "id_huge": "{id}: expected int <= 9223372036854775807",
    "id_boolean": "{id}: expected int, got bool",
    "date_impossible": "created_at: not a date of the form YYYY-MM-DDTHH:MM:SS",
    "date_empty": "created_at: not a date of the form YYYY-MM-DDTHH:MM:SS",
    "date_null": "created_at: expected str, got null",
    "date_missing": "created_at: missing",
    "date_future": ": in the future",
    "record_null": "not an object: null",
    "record_text": "not an object: text",
    "record_list": "not an object: a list",
}
REJECTED_TRACKS = {
    "duration_short": "duration: not of the form MM:SS",
    "duration_overflow": "duration: not of the form MM:SS",
    "duration_hours": "duration: not of the form MM:SS",
    "text_nul": ": holds a NUL character",
    "text_surrogate": "not readable as JSON text",
}
ACCEPTED = {
    "tracks": ["date_zoned", "date_utc", "text_emoji", "text_long", "duration_zero"],
    "users": ["date_zoned", "date_utc", "text_emoji", "text_long", "email_shared", "gender_new", "genre_new"],
    "listen_history": ["date_zoned", "date_utc", "items_null", "items_empty", "items_repeated"],
}


def counts(query: Query, endpoint: str) -> tuple[object, ...]:
    """Rows landed, rejected, duplicate and staged, and the status."""
    return query(
        "select rows_landed, rows_rejected, rows_duplicate, rows_staged, status from ops.batches where endpoint = %s",
        endpoint,
    )[0]


@pytest.mark.parametrize("endpoint", TOTALS)
def test_invalid_rows_are_rejected_one_by_one(
    endpoint: str, api: MockApi, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THRESHOLD_MAX_REJECTED_SHARE", "0.5")
    kinds = REJECTED | {"tracks": REJECTED_TRACKS, "users": {}, "listen_history": {}}[endpoint]
    api.set_faults({"endpoint": endpoint, "bad_rows": dict.fromkeys([*kinds, "field_missing", "field_wrong_type"], 1)})

    assert main(["--day", DAY]) == 0

    total, bad = TOTALS[endpoint], len(kinds) + 2
    assert counts(query, endpoint) == (total + bad, bad, 0, total, "published")
    rejected = query("select reason, row_position, raw_json from ops.rejected_rows order by row_position")
    assert len(rejected) == bad
    for reason in kinds.values():
        assert any(reason.format(id=ID[endpoint]) in row[0] for row in rejected), reason
    assert [row[1] for row in rejected] == sorted({row[1] for row in rejected})
    assert_rows_add_up(query)


@pytest.mark.parametrize("endpoint", TOTALS)
def test_unusual_valid_rows_are_published(endpoint: str, api: MockApi, query: Query) -> None:
    api.set_faults({"endpoint": endpoint, "bad_rows": dict.fromkeys(ACCEPTED[endpoint], 1)})

    assert main(["--day", DAY]) == 0

    total = TOTALS[endpoint] + len(ACCEPTED[endpoint])
    assert counts(query, endpoint) == (total, 0, 0, total, "published")
    assert query(f"select count(*) from warehouse.{endpoint}") == [(total,)]
    assert_rows_add_up(query)


@pytest.mark.parametrize("endpoint", TOTALS)
def test_duplicates_are_merged_into_the_newest_version(endpoint: str, api: MockApi, query: Query) -> None:
    api.set_faults({"endpoint": endpoint, "bad_rows": {"copy_exact": 2, "copy_older": 2, "copy_newer": 2}})

    assert main(["--day", DAY]) == 0

    total = TOTALS[endpoint]
    assert counts(query, endpoint) == (total + 6, 0, 2, total, "published")
    assert query("select rows_superseded, rows_conflicting from ops.batches where endpoint = %s", endpoint) == [(4, 0)]
    key = ("user_id", "created_at") if endpoint == "listen_history" else ("id",)
    newest: dict[tuple[object, ...], str] = {}
    for row in api.rows(endpoint):
        identity = tuple(row[name] for name in key)
        newest[identity] = max(newest.get(identity, ""), row["updated_at"])
    stored = query(f"select to_char(updated_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.US') from warehouse.{endpoint}")
    assert sorted(newest.values()) == sorted(row[0] for row in stored)
    assert_rows_add_up(query)


def test_invalid_plays_are_rejected_and_their_session_is_published(api: MockApi, query: Query) -> None:
    api.set_faults(
        {
            "endpoint": "listen_history",
            "bad_rows": {"items_with_null": 1, "items_with_text": 1, "items_unknown": 1, "user_unknown": 1},
        }
    )

    assert main(["--day", DAY]) == 0

    assert counts(query, "listen_history") == (SESSIONS + 4, 1, 0, SESSIONS + 3, "published")
    reasons = query("select reason, play_position is not null from ops.rejected_rows order by reason")
    assert reasons == [
        ("items: expected int, got null", True),
        ("items: expected int, got str", True),
        ("items: no such track is published", True),
        ("user_id: no such user is published", False),
    ]
    assert query("select plays_rejected from ops.batches where endpoint = 'listen_history'") == [(3,)]
    assert_rows_add_up(query)


def test_play_of_an_unknown_track_is_published_with_the_track(
    api: MockApi, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THRESHOLD_MAX_REJECTED_SHARE", "1")
    monkeypatch.setenv("THRESHOLD_MAX_REJECTED_PLAYS_SHARE", "1")
    assert main(["--day", DAY]) == 0
    api.set_day("2026-12-31")  # new tracks, and sessions that play them
    assert main(["--day", "2026-12-31", "--endpoint", "users", "--endpoint", "listen_history"]) == 0
    rejected = query("select count(*) from ops.rejected_rows where play_position is not null")[0][0]
    plays = query("select count(*) from mart.fact_listens")[0][0]
    assert rejected > 0

    assert main(["--day", "2027-01-01"]) == 0

    assert query("select count(*) from mart.fact_listens") == [(plays + rejected,)]
    assert_rows_add_up(query)


def test_repeated_track_in_a_session_keeps_both_positions(api: MockApi, query: Query) -> None:
    api.set_faults({"endpoint": "listen_history", "bad_rows": {"items_repeated": 1}})

    assert main(["--day", DAY]) == 0

    repeated = [
        row for row in api.rows("listen_history") if row["items"] and len(set(row["items"])) < len(row["items"])
    ]
    assert len(repeated) == 1
    stored = query(
        "select array_agg(track_id order by position) from mart.fact_listens where user_id = %s and listened_at = %s",
        repeated[0]["user_id"],
        repeated[0]["created_at"] + "Z",
    )
    assert stored == [(repeated[0]["items"],)]


def test_rejected_share_up_to_one_percent_is_accepted(api: MockApi, query: Query) -> None:
    api.set_faults({"endpoint": "users", "bad_rows": {"id_null": 3}})  # 3 of 303: below 1 %
    assert main(["--day", DAY]) == 0
    api.set_faults({"endpoint": "users", "bad_rows": {"id_null": 4}})  # 4 of 304: above 1 %
    assert main(["--day", "2026-11-21"]) == 1

    statuses = query("select day::text, status, rows_rejected from ops.batches where endpoint = 'users' order by day")
    assert statuses == [(DAY, "published", 3), ("2026-11-21", "blocked", 4)]
    assert query("select count(*) from warehouse.users where removed_at is not null") == [(0,)]
    assert_rows_add_up(query)


def test_unknown_field_is_ignored_and_warned_of(api: MockApi, query: Query) -> None:
    api.set_faults({"schema_drift": "mood"})

    assert main(["--day", DAY]) == 0

    drift = query("select endpoint, unknown_fields from ops.batches order by endpoint")
    assert drift == [(name, {"mood": total}) for name, total in sorted(TOTALS.items())]
    warnings = query("select count(*) from ops.expectation_results where not success and severity = 'warning'")
    assert warnings[0][0] >= 3
    figures = query(
        "select endpoint, value, lower, upper from ops.expectation_results join ops.batches using (batch_id)"
        " where expectation = 'fields_are_known' order by endpoint"
    )
    assert figures == [(name, total, None, 0) for name, total in sorted(TOTALS.items())]
    assert_rows_add_up(query)


def test_rejected_row_is_not_marked_as_removed(api: MockApi, query: Query) -> None:
    assert main(["--day", DAY]) == 0
    api.set_faults({"endpoint": "tracks", "bad_rows": {"date_impossible": 1}, "place": 0})
    assert main(["--day", "2026-11-21"]) == 0
    assert query("select count(*) from warehouse.tracks where removed_at is not null") == [(0,)]
