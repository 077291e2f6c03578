"""Conflicting rows (same key, different content): one is published, the others are rejected and can block."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import erase, ingest, replay
from tests.conftest import Query
from tests.database_state import assert_rows_add_up
from tests.source_stub import Row, SourceStub, serve_source, session, track, user

DAY, NEXT_DAY = "2026-11-20", "2026-11-21"
NO_TIME = "1970-01-01T00:00:00"
USERS, TRACKS = 12, 30


def imported_without_times() -> list[Row]:
    """40 good sessions and 60 with the same time, as from an import. 48 of these conflict with another session."""
    good = [
        session(1 + i % USERS, [1 + i % TRACKS], created_at=f"2026-11-{1 + i % 18:02d}T10:00:{i:02d}")
        for i in range(40)
    ]
    same_time = [
        session(1 + i % USERS, [1 + i // USERS, 10 + i // USERS], created_at=NO_TIME, updated_at=NO_TIME)
        for i in range(60)
    ]
    return good + same_time


@pytest.fixture
def source(prefect_server: None, environment: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SourceStub]:
    rows = SourceStub(
        [track(number) for number in range(1, TRACKS + 1)],
        [user(number) for number in range(1, USERS + 1)],
        imported_without_times(),
    )
    with serve_source(rows) as stub:
        for name, value in {"MOOVITAMIX_API_URL": stub.url, "PAGE_SIZE": "7", "FETCH_THREADS": "2"}.items():
            monkeypatch.setenv(name, value)
        yield stub


def failed_expectations(query: Query) -> list[tuple[object, ...]]:
    return query(
        "select expectation, severity, observed_value from ops.expectation_results"
        " where batch_id like 'listen_history%%' and not success and expectation like '%%conflict%%' order by 1"
    )


def test_conflicting_sessions_block_the_batch_and_are_stored_as_rejected_rows(source: SourceStub, query: Query) -> None:
    assert ingest.main(["--day", DAY]) == 1

    counts = query(
        "select status, rows_landed, rows_duplicate, rows_superseded, rows_conflicting, rows_staged from ops.batches"
        " where endpoint = 'listen_history'"
    )
    assert counts == [("blocked", 100, 0, 0, 48, 52)]
    assert failed_expectations(query) == [
        ("conflicts_are_few", "critical", "48 %"),
        ("no_rows_conflict", "warning", "48"),
    ]
    rejected = query("select row_position, raw_json, reason from ops.rejected_rows order by row_position")
    assert len(rejected) == 48
    assert all(json.loads(raw) == source.listen_history[position - 1] for position, raw, _ in rejected)
    assert {reason for *_, reason in rejected} == {"conflict: another row with the same key and other content was kept"}
    assert query("select count(*) from warehouse.listen_history") == [(0,)]
    assert_rows_add_up(query)


def test_conflicts_below_the_threshold_warn_and_do_not_depend_on_row_order(
    source: SourceStub, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THRESHOLD_MAX_CONFLICTING_SHARE", "0.48")
    assert ingest.main(["--day", DAY]) == 0
    assert failed_expectations(query) == [("no_rows_conflict", "warning", "48")]

    random.Random(3).shuffle(source.listen_history)
    assert ingest.main(["--day", NEXT_DAY]) == 0

    counts = query(
        "select status, rows_conflicting, rows_unchanged, rows_staged from ops.batches"
        " where endpoint = 'listen_history' order by day"
    )
    assert counts == [("published", 48, 0, 52), ("unchanged", 48, 52, 0)]
    assert_rows_add_up(query)


def test_erasure_blanks_conflicting_rows_of_an_accepted_batch(source: SourceStub, query: Query) -> None:
    assert ingest.main(["--day", DAY]) == 1
    assert replay.main([f"listen_history-{DAY}", "--accept", "an old import", "--by", "ticket 4"]) == 0
    assert query("select count(*) from ops.rejected_rows where raw_json::jsonb ->> 'user_id' = '5'") == [(4,)]

    assert erase.main(["5", "--reason", "request", "--requested-by", "ticket nine"]) == 0

    assert query("select count(*) from ops.rejected_rows where raw_json like '%%\"user_id\": 5,%%'") == [(0,)]
    assert query("select count(*) from ops.rejected_rows") == [(48,)]
    # The source still sends the rows of the user; they no longer count as conflicts.
    assert ingest.main(["--day", NEXT_DAY, "--endpoint", "users", "--endpoint", "listen_history"]) == 1
    assert query(
        "select rows_erased, rows_conflicting from ops.batches where endpoint = 'listen_history' and day = %s", NEXT_DAY
    ) == [(sum(row["user_id"] == 5 for row in source.listen_history), 44)]
    assert_rows_add_up(query)
