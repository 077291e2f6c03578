"""Audits against a real Postgres: which batches pass, block or warn, and no personal data in results."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from core.audits import AuditTarget, ExpectationResult, raise_if_blocked
from core.clock import utc_now
from core.database import connect, migrate
from core.endpoints import LISTEN_HISTORY, TRACKS, USERS, Endpoint
from core.errors import BatchBlocked, DatabaseError
from core.file_store import FolderStore
from core.queries import compose_query
from expectations import listen_history, tracks, users
from expectations.checkpoint import Auditor
from expectations.data_docs import docs_page
from expectations.rule_tables import _DEFAULTS
from expectations.rules import ExpectNoSuchRows, meta_of, no_rows
from pipeline.endpoint_tables import create_rows_table

DAY = date(2026, 11, 22)
SECRETS = ("Marie-Secret", "Noone-Private", "hidden.person@example.com", "Secret gender", "Private genre")

TRACK: dict[str, Any] = {
    "id": 1, "name": "Song", "artist": "Band", "songwriters": "One, Two", "duration": "03:05", "duration_seconds": 185,
    "genres": "free words", "album": "LP", "created_at": datetime(2025, 1, 1, tzinfo=UTC),
    "updated_at": datetime(2025, 1, 2, tzinfo=UTC), "row_hash": 1, "is_new": True,
}  # fmt: skip
USER: dict[str, Any] = {
    "id": 1, "first_name": "Ann", "last_name": "Lee", "email": "ann@example.com", "gender": "Female",
    "favorite_genres": "R&B", "created_at": datetime(2025, 1, 1, tzinfo=UTC),
    "updated_at": datetime(2025, 1, 2, tzinfo=UTC), "row_hash": 1, "is_new": True,
}  # fmt: skip
SESSION: dict[str, Any] = {
    "user_id": 1, "created_at": datetime(2025, 3, 1, 8, tzinfo=UTC), "updated_at": datetime(2025, 3, 1, 9, tzinfo=UTC),
    "items": [1, 2], "row_hash": 1, "is_new": True,
}  # fmt: skip
ROW: dict[Endpoint, dict[str, Any]] = {TRACKS: TRACK, USERS: USER, LISTEN_HISTORY: SESSION}
PROFILE: dict[str, Any] = {
    "rows_reported": 100, "rows_landed": 100, "rows_listed": 100, "rows_rejected": 0, "rejected_share": 0.0,
    "rows_superseded": 0, "rows_conflicting": 0, "conflicting_share": 0.0,
    "plays_landed": 200, "plays_rejected": 0, "plays_rejected_share": 0.0, "published_rows": 100,
    "share_of_published": 1.0, "rows_removed": 0, "removed_share": 0.0, "days_since_newest_update": 0.5,
    "rows_with_unknown_fields": 0, "dependencies_not_published": 0, "last_day_sessions": 900,
    "quietest_day_sessions": 1_000, "share_of_quietest_day": 0.9,
}  # fmt: skip


def rows(endpoint: Endpoint, *changes: dict[str, Any]) -> list[dict[str, Any]]:
    """Ten valid rows with keys from 1. The changes apply to the last rows."""
    key = "user_id" if endpoint == LISTEN_HISTORY else "id"
    all_rows = [{**ROW[endpoint], key: number} for number in range(1, 11)]
    for number, change in enumerate(changes, start=10 - len(changes)):
        all_rows[number] |= change
    return all_rows


@dataclass
class BatchAuditBench:
    """A database with users and tracks 1 to 10 published, and an auditor for it."""

    url: str
    connection: psycopg.Connection[Any]
    auditor: Auditor
    docs_dir: Path
    batches: int = field(default=0)

    def stage(self, endpoint: Endpoint, staged: list[dict[str, Any]], **profile: Any) -> AuditTarget:
        self.batches += 1
        name = f"{endpoint}_{self.batches}"
        self.connection.execute(create_rows_table(endpoint, name))
        profile_table = ("staging", f"{name}_profile")
        self.connection.execute(compose_query("staging/tables.create_profile", table=profile_table))
        self.insert(name, staged)
        self.insert(f"{name}_profile", [PROFILE | profile])
        return AuditTarget(f"{endpoint}-2026-11-22-r{self.batches}", endpoint, DAY, name, f"{name}_profile")

    def insert(self, table: str, content: list[dict[str, Any]]) -> None:
        for row in content:
            self.connection.execute(
                sql.SQL("insert into staging.{} ({}) values ({})").format(
                    sql.Identifier(table),
                    sql.SQL(", ").join(map(sql.Identifier, row)),
                    sql.SQL(", ").join(map(sql.Placeholder, row)),
                ),
                row,
            )

    def failed(self, endpoint: Endpoint, staged: list[dict[str, Any]], **profile: Any) -> dict[str, ExpectationResult]:
        """Audit a batch. Returns the failed expectations by name."""
        return failures(self.auditor.audit(self.stage(endpoint, staged, **profile)))


def failures(results: list[ExpectationResult]) -> dict[str, ExpectationResult]:
    return {result.expectation: result for result in results if not result.success}


@pytest.fixture(scope="module")
def bench(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchAuditBench]:
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute("create database expectations")
    url = postgres.replace("/postgres?", "/expectations?")
    migrate(url)
    docs_dir = tmp_path_factory.mktemp("docs")
    with (
        connect(url) as connection,
        Auditor(url=url, thresholds=_DEFAULTS, docs=FolderStore(docs_dir), clock=utc_now) as auditor,
    ):
        for table, row in (("users", USER), ("tracks", TRACK)):
            columns = [name for name in row if name != "is_new"]
            values = sql.SQL(", ").join(
                sql.Identifier(name) if name == "id" else sql.Placeholder(name) for name in columns
            )
            connection.execute(
                sql.SQL(
                    "insert into warehouse.{} ({}, batch_id) select {}, 'b' from generate_series(1, 10) as id"
                ).format(sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns)), values),
                row,
            )
        yield BatchAuditBench(url, connection, auditor, docs_dir)


each_endpoint = pytest.mark.parametrize("endpoint", [TRACKS, USERS, LISTEN_HISTORY])


@each_endpoint
def test_valid_batch_passes(bench: BatchAuditBench, endpoint: Endpoint) -> None:
    batch = bench.stage(endpoint, rows(endpoint))
    results = bench.auditor.audit(batch)
    assert not failures(results)
    raise_if_blocked(batch.batch_id, results)
    suite = {TRACKS: tracks, USERS: users, LISTEN_HISTORY: listen_history}[endpoint]
    expected = [
        meta_of(rule)["rule"]
        for rule in [*suite.row_expectations(_DEFAULTS, "p"), *suite.profile_expectations(_DEFAULTS)]
    ]
    assert sorted(result.expectation for result in results) == sorted(expected)


@each_endpoint
def test_unchanged_batch_passes(bench: BatchAuditBench, endpoint: Endpoint) -> None:
    assert not bench.failed(endpoint, [])


@each_endpoint
def test_first_batch_passes(bench: BatchAuditBench, endpoint: Endpoint) -> None:
    assert not bench.failed(endpoint, rows(endpoint), published_rows=None, share_of_published=None)


def test_quirks_of_the_real_server_pass(bench: BatchAuditBench) -> None:
    later_time, earlier_time = datetime(2026, 5, 1, tzinfo=UTC), datetime(2024, 5, 1, 1, 2, 3, 456789, tzinfo=UTC)
    created_after_update = {"created_at": later_time, "updated_at": earlier_time}
    assert not bench.failed(
        TRACKS,
        rows(
            TRACKS,
            created_after_update,
            {"duration": "00:01", "duration_seconds": 1},
            {"duration": "59:59", "duration_seconds": 3599},
        ),
    )
    assert not bench.failed(
        USERS, rows(USERS, created_after_update, {"email": "same@example.com"}, {"email": "same@example.com"})
    )
    older_than_its_user = {"created_at": datetime(2000, 1, 1, tzinfo=UTC)}
    twice_the_same_track = {"items": [3, 3]}
    assert not bench.failed(LISTEN_HISTORY, rows(LISTEN_HISTORY, older_than_its_user, twice_the_same_track))
    # New ids for all rows give a warning and do not block. Rows newer than the day give no warning.
    replaced = bench.failed(USERS, rows(USERS), rows_removed=100, removed_share=1.0, days_since_newest_update=-30.0)
    assert [(name, result.severity) for name, result in replaced.items()] == [("removals_are_few", "warning")]


BLANK = {"name": " \t"}
OLD, FAR = datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
TEXT_CASES = [
    (
        endpoint,
        [dict.fromkeys(columns, value)],
        {},
        {f"{column}_{rule}": ("warning", 1, ("10",)) for column in columns},
    )
    for endpoint, columns in (
        (TRACKS, ("name", "artist", "songwriters", "genres", "album")),
        (USERS, ("first_name", "last_name")),
    )
    for value, rule in (("\u3000 \n", "is_not_blank"), ("x" * 1_001, "is_not_endless"))
]
LONG_AGO = "2025-03-01T08:00:00+00:00"
ROW_CASES: list[tuple[Endpoint, list[dict[str, Any]], dict[str, Any], dict[str, tuple[str, int, tuple[str, ...]]]]] = [
    (TRACKS, [{"id": 3}], {}, {"id_is_unique": ("critical", 1, ("3",))}),
    (USERS, [{"id": 3}, {"id": 4}], {}, {"id_is_unique": ("critical", 2, ("3", "4"))}),
    (USERS, [{"id": -5}], {}, {"id_is_not_negative": ("critical", 1, ("-5",))}),
    (TRACKS, [{"created_at": OLD}, {"updated_at": FAR}], {}, {"timestamps_are_possible": ("critical", 2, ("10", "9"))}),
    (USERS, [{"updated_at": OLD}], {}, {"timestamps_are_possible": ("critical", 1, ("10",))}),
    (TRACKS, [BLANK] * 5, {}, {"name_is_not_blank": ("warning", 5, ("10", "6", "7", "8", "9"))}),
    (
        TRACKS,
        [BLANK] * 6,
        {},
        {
            "name_is_not_lost": ("critical", 6, ("10", "5", "6", "7", "8", "9")),
            "name_is_not_blank": ("warning", 6, ("10", "5", "6", "7", "8", "9")),
        },
    ),
    (TRACKS, [{"duration": "3:05"}, {"duration": "03:65"}], {}, {"duration_is_mm_ss": ("warning", 2, ("10", "9"))}),
    (
        TRACKS,
        [{"duration_seconds": 0}, {"duration_seconds": 3_600}, {"duration_seconds": 3_601}],
        {},
        {"duration_is_plausible": ("warning", 2, ("10", "8"))},
    ),
    (
        USERS,
        [{"email": "ann"}, {"email": "a@b@c"}, {"email": "@"}],
        {},
        {"email_has_an_at": ("warning", 3, ("10", "8", "9"))},
    ),
    (USERS, [{"gender": "New"}], {}, {"gender_is_known": ("warning", 1, ("10",))}),
    (USERS, [{"favorite_genres": "Polka"}], {}, {"favorite_genre_is_known": ("warning", 1, ("10",))}),
    (LISTEN_HISTORY, [{"user_id": 3}], {}, {"key_is_unique": ("critical", 1, (f"3 {LONG_AGO}",))}),
    (LISTEN_HISTORY, [{"user_id": 11}], {}, {"user_is_published": ("critical", 1, (f"11 {LONG_AGO}",))}),
    (
        LISTEN_HISTORY,
        [{"items": [1, 11, 12]}, {"items": [1, None]}],
        {},
        {"tracks_are_published": ("critical", 2, (f"10 {LONG_AGO}", f"9 {LONG_AGO}"))},
    ),
    (
        LISTEN_HISTORY,
        [{"created_at": OLD}],
        {},
        {"timestamps_are_possible": ("critical", 1, ("10 1969-12-31T23:59:59+00:00",))},
    ),
    (
        LISTEN_HISTORY,
        [{"updated_at": datetime(2025, 3, 1, 7, 59, tzinfo=UTC)}],
        {},
        {"updated_after_created": ("warning", 1, (f"10 {LONG_AGO}",))},
    ),
    (LISTEN_HISTORY, [{"items": []}], {}, {"session_has_plays": ("warning", 1, (f"10 {LONG_AGO}",))}),
    (
        LISTEN_HISTORY,
        [{"items": [1] * 500}, {"items": [1] * 501}],
        {},
        {"session_is_plausible": ("warning", 1, (f"10 {LONG_AGO}",))},
    ),
    *TEXT_CASES,
]


@pytest.mark.parametrize(
    ("endpoint", "changes", "profile", "expected"),
    ROW_CASES,
    ids=lambda value: "+".join(value) if isinstance(value, dict) else None,
)
def test_row_with_a_defect_is_rejected_by_its_expectation(
    bench: BatchAuditBench,
    endpoint: Endpoint,
    changes: list[dict[str, Any]],
    profile: dict[str, Any],
    expected: dict[str, tuple[str, int, tuple[str, ...]]],
) -> None:
    failed = bench.failed(endpoint, rows(endpoint, *changes), **profile)
    results = {
        name: (result.severity, result.unexpected_count, tuple(sorted(result.failing_keys)))
        for name, result in failed.items()
    }
    assert results == expected


def test_more_than_200_sessions_per_day_warn(bench: BatchAuditBench) -> None:
    """200 sessions of a user on one day pass. The 201st warns. Another day counts separately."""
    day = [
        {**SESSION, "user_id": 7, "created_at": datetime(2025, 3, 1, n // 60, n % 60, tzinfo=UTC)} for n in range(200)
    ]
    tomorrow = {
        **SESSION,
        "user_id": 7,
        "created_at": datetime(2025, 3, 2, tzinfo=UTC),
        "updated_at": FAR.replace(year=2026),
    }
    day = [{**session, "updated_at": FAR.replace(year=2026)} for session in day]
    assert not bench.failed(LISTEN_HISTORY, [*day, tomorrow])
    extra_session = {**tomorrow, "created_at": datetime(2025, 3, 1, 23, 59, tzinfo=UTC)}
    failed = bench.failed(LISTEN_HISTORY, [*day, extra_session])
    assert failed["user_is_plausible"].severity == "warning"
    assert failed["user_is_plausible"].failing_keys == ("7 2025-03-01T00:00:00+00:00",)


BATCH_CASES: list[tuple[Endpoint, dict[str, Any], dict[str, tuple[str, str]]]] = [
    (USERS, {"rejected_share": 0.01}, {}),
    (USERS, {"rejected_share": 0.042}, {"rejects_are_few": ("critical", "rejected share 4.2 % is above 1 %")}),
    (LISTEN_HISTORY, {"conflicting_share": 0.01}, {}),
    (
        LISTEN_HISTORY,
        {"rows_conflicting": 30, "conflicting_share": 0.3},
        {
            "conflicts_are_few": ("critical", "share of conflicting rows 30 % is above 1 %"),
            "no_rows_conflict": (
                "warning",
                "number of rows that conflict with the kept row 30 is above 0",
            ),
        },
    ),
    (
        TRACKS,
        {"rows_superseded": 2},
        {"rows_have_one_version": ("warning", "number of older versions of rows in the snapshot 2 is above 0")},
    ),
    (LISTEN_HISTORY, {"plays_rejected_share": 0.01}, {}),
    (
        LISTEN_HISTORY,
        {"plays_rejected_share": 0.0123},
        {"rejected_plays_are_few": ("critical", "rejected plays share 1.23 % is above 1 %")},
    ),
    (
        TRACKS,
        {"rows_landed": 1_990, "rows_reported": 2_000},
        {
            "list_is_complete": (
                "critical",
                "not true: the number of landed rows equals the total that the API reported "
                "(rows_landed 1,990, rows_reported 2,000)",
            )
        },
    ),
    (TRACKS, {"share_of_published": 0.9}, {}),
    (
        TRACKS,
        {"share_of_published": 0.7},
        {"list_did_not_shrink": ("warning", "size compared with the published rows 70 % is below 90 %")},
    ),
    # 1,000 rows are published; half of the expected 1,010 arrive.
    (
        TRACKS,
        {"published_rows": 1_000, "rows_listed": 505, "share_of_published": 0.505},
        {
            "list_did_not_collapse": ("critical", "size compared with the published rows 50.5 % is below 70 %"),
            "list_did_not_shrink": ("warning", "size compared with the published rows 50.5 % is below 90 %"),
        },
    ),
    (
        USERS,
        {"rows_reported": 0, "rows_landed": 0, "rows_listed": 0, "share_of_published": 0.0},
        {
            "list_did_not_collapse": ("critical", "size compared with the published rows 0 % is below 70 %"),
            "list_did_not_shrink": ("warning", "size compared with the published rows 0 % is below 90 %"),
            "list_is_not_empty": ("warning", "number of rows in the snapshot 0 is below 1"),
        },
    ),
    (USERS, {"share_of_published": 1.5}, {}),
    (
        USERS,
        {"share_of_published": 1.6},
        {"list_did_not_explode": ("warning", "size compared with the published rows 160 % is above 150 %")},
    ),
    (USERS, {"removed_share": 0.1}, {}),
    (USERS, {"removed_share": 0.25}, {"removals_are_few": ("warning", "removed share 25 % is above 10 %")}),
    (USERS, {"days_since_newest_update": 7.0}, {}),
    (USERS, {"days_since_newest_update": None}, {}),
    (
        USERS,
        {"days_since_newest_update": 8.25},
        {"source_is_fresh": ("warning", "age of the newest row 8.25 days is above 7 days")},
    ),
    (
        TRACKS,
        {"rows_with_unknown_fields": 3},
        {"fields_are_known": ("warning", "number of rows with unknown fields 3 is above 0")},
    ),
    (LISTEN_HISTORY, {"share_of_quietest_day": 0.7}, {}),
    (LISTEN_HISTORY, {"share_of_quietest_day": None}, {}),
    (
        LISTEN_HISTORY,
        {"share_of_quietest_day": 0.482},
        {
            "last_day_is_whole": (
                "critical",
                "sessions of the last whole day, compared with the quietest of the 14 days before it: 48.2 % is below "
                "70 %",
            )
        },
    ),
    (
        LISTEN_HISTORY,
        {"dependencies_not_published": 1},
        {
            "dependencies_are_published": (
                "critical",
                "number of the day's other batches that were not published 1 is above 0",
            )
        },
    ),
]


@pytest.mark.parametrize(("endpoint", "profile", "expected"), BATCH_CASES)
def test_batch_with_a_defect_fails_its_expectation(
    bench: BatchAuditBench, endpoint: Endpoint, profile: dict[str, Any], expected: dict[str, tuple[str, str]]
) -> None:
    staged = [] if profile.get("rows_listed") == 0 else rows(endpoint)
    failed = bench.failed(endpoint, staged, **profile)
    assert {name: (result.severity, result.description) for name, result in failed.items()} == expected


def test_missing_or_duplicate_profile_blocks(bench: BatchAuditBench) -> None:
    for count in (0, 2):
        batch = bench.stage(USERS, rows(USERS))
        bench.connection.execute(sql.SQL("truncate staging.{}").format(sql.Identifier(batch.profile_table)))
        bench.insert(batch.profile_table, [PROFILE] * count)
        assert failures(bench.auditor.audit(batch))["batch_is_profiled"].blocks


def test_message_of_a_blocked_batch_describes_the_failures(bench: BatchAuditBench) -> None:
    batch = bench.stage(USERS, rows(USERS, {"id": 3}, {"gender": "New"}), rejected_share=0.042)
    with pytest.raises(BatchBlocked) as error:
        raise_if_blocked(batch.batch_id, bench.auditor.audit(batch))
    assert str(error.value) == (
        f"{batch.batch_id} blocked: not true of 1 row: an id comes once; rejected share 4.2 % is above 1 %"
    )


def test_result_has_count_and_share_of_rows(bench: BatchAuditBench) -> None:
    result = bench.failed(USERS, rows(USERS, {"gender": "New"}, {"gender": "Newer"}))["gender_is_known"]
    assert (result.unexpected_count, result.unexpected_share, result.observed_value) == (2, 0.2, "2 rows, 20 %")
    assert result.description == "not true of 2 rows, 20 %: a gender is one of the known genders"


def test_number_of_failing_keys_is_limited(bench: BatchAuditBench) -> None:
    with Auditor(
        url=bench.url, thresholds=_DEFAULTS, docs=FolderStore(bench.docs_dir), clock=utc_now, max_failing_keys=3
    ) as auditor:
        failed = failures(auditor.audit(bench.stage(USERS, rows(USERS, *[{"gender": "New"}] * 5))))
    assert len(failed["gender_is_known"].failing_keys) == 3
    assert failed["gender_is_known"].unexpected_count == 5


@pytest.fixture
def broken_expectation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add an expectation of severity warning whose query fails on a value of a row."""
    query = "select id from {batch} where cast(email as integer) > 0"
    rule = no_rows("odd", "warning", "an e-mail is odd", "audit/staged_rows.find_duplicate_ids").copy(
        update={"unexpected_rows_query": query}
    )
    assert isinstance(rule, ExpectNoSuchRows)
    row_expectations = users.row_expectations
    monkeypatch.setattr(
        users, "row_expectations", lambda thresholds, profile: [*row_expectations(thresholds, profile), rule]
    )


@pytest.mark.usefixtures("broken_expectation")
def test_broken_expectation_blocks_without_exposing_values(bench: BatchAuditBench) -> None:
    batch = bench.stage(USERS, rows(USERS, {"email": SECRETS[2]}))
    failed = failures(bench.auditor.audit(batch))
    assert list(failed) == ["odd"]
    assert failed["odd"].blocks
    assert failed["odd"].description == (
        "the rule could not be evaluated (InvalidTextRepresentation): an e-mail is odd"
    )
    assert_no_personal_data(bench, batch, list(failed.values()))


def test_no_personal_values_in_results_or_docs(bench: BatchAuditBench) -> None:
    first, last, email, gender, genre = SECRETS
    person = {"first_name": first, "last_name": last, "email": email, "gender": gender, "favorite_genres": genre}
    every_text_fails = {
        "first_name": first + " " * 1_000,
        "last_name": last + " " * 1_000,
        "email": email.replace("@", " ") + "hidden.person",
        "gender": gender,
        "favorite_genres": genre,
    }
    batch = bench.stage(USERS, rows(USERS, person, every_text_fails, {**person, "id": 1, "created_at": OLD}))
    results = bench.auditor.audit(batch)
    assert {"first_name_is_not_endless", "email_has_an_at", "gender_is_known", "id_is_unique"} <= set(failures(results))
    assert_no_personal_data(bench, batch, results)


def assert_no_personal_data(bench: BatchAuditBench, batch: AuditTarget, results: list[ExpectationResult]) -> None:
    texts = [repr(result) for result in results]
    texts += [path.read_text() for path in bench.docs_dir.rglob(f"*{batch.batch_id}*")]
    texts.append((bench.docs_dir / "index.html").read_text())
    assert len(texts) >= len(results) + 4
    for text in texts:
        for secret in (*SECRETS, "hidden.person", "ann@example.com"):
            assert secret not in text


def test_data_docs_page_shows_status_and_measured_values(bench: BatchAuditBench) -> None:
    batch = bench.stage(USERS, rows(USERS, {"id": 3}), rejected_share=0.042)
    bench.auditor.audit(batch)
    page = (bench.docs_dir / docs_page(batch.batch_id)).read_text()
    assert f"<title>{batch.batch_id}: blocked</title>" in page
    assert "rejected share 4.2 % is above 1 %" in page
    assert "Blocks: at most 1 % of the rows were rejected" in page
    assert "https://" not in page
    results = json.loads((bench.docs_dir / "results" / f"{batch.batch_id}.json").read_text())
    assert results["statistics"]["unsuccessful_expectations"] == 2


def test_audit_leaves_no_lock_and_is_repeatable(bench: BatchAuditBench) -> None:
    batch = bench.stage(TRACKS, rows(TRACKS, {"id": 3}))
    assert bench.auditor.audit(batch) == bench.auditor.audit(batch)
    bench.connection.execute("set lock_timeout = '1s'")
    bench.connection.execute(sql.SQL("drop table staging.{}").format(sql.Identifier(batch.rows_table)))


def test_missing_table_is_a_database_error(bench: BatchAuditBench) -> None:
    batch = replace(bench.stage(USERS, []), rows_table="nowhere")
    with pytest.raises(DatabaseError, match=r"the staged batch could not be audited \(TestConnectionError\)"):
        bench.auditor.audit(batch)


def test_unwritable_data_docs_do_not_change_the_result(bench: BatchAuditBench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with Auditor(url=bench.url, thresholds=_DEFAULTS, docs=FolderStore(tmp_path / "file"), clock=utc_now) as auditor:
        assert failures(auditor.audit(bench.stage(USERS, rows(USERS, {"id": 3}))))["id_is_unique"].blocks


def test_two_audits_run_in_parallel(bench: BatchAuditBench, tmp_path: Path) -> None:
    batches = [bench.stage(USERS, rows(USERS, {"id": 3})), bench.stage(TRACKS, rows(TRACKS))]
    failed: dict[str, dict[str, ExpectationResult]] = {}

    def audit(batch: AuditTarget) -> None:
        with Auditor(url=bench.url, thresholds=_DEFAULTS, docs=FolderStore(tmp_path), clock=utc_now) as auditor:
            failed[batch.batch_id] = failures(auditor.audit(batch))

    threads = [threading.Thread(target=audit, args=(batch,)) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [list(failed[batch.batch_id]) for batch in batches] == [["id_is_unique"], []]
    index = (tmp_path / "index.html").read_text()
    assert all(f"validations/{batch.batch_id}.html" in index for batch in batches)
