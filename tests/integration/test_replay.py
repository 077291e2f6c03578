"""Replay: a blocked batch is published from its raw pages, or refused."""

from __future__ import annotations

import re
import shutil
from logging import WARNING, LogRecord
from pathlib import Path

import polars as pl
import pytest
from prefect.artifacts import Artifact

from core.endpoints import Endpoint
from core.frames import as_csv
from flows import ingest, replay
from pipeline.decoding import DecodedRows
from pipeline.transformation import _typed
from tests.conftest import TRACKS, MockApi, Query
from tests.database_state import assert_rows_add_up, database_state

pytestmark = pytest.mark.usefixtures("prefect_server")

DAY, NEXT_DAY = "2026-11-20", "2026-11-21"


@pytest.fixture
def blocked(api: MockApi, environment: Path) -> Path:
    """Day one: tracks are blocked because of malformed rows, and sessions wait for them. Returns the data folder."""
    api.set_faults({"endpoint": "tracks", "bad_rows": {"id_null": 5}})
    assert ingest.main(["--day", DAY]) == 1
    return environment


def status(query: Query, batch_id: str) -> str:
    return str(query("select status from ops.batches where batch_id = %s", batch_id)[0][0])


def test_replay_with_a_higher_threshold_publishes_without_fetching(
    blocked: Path, api: MockApi, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert status(query, f"tracks-{DAY}") == "blocked"
    assert status(query, f"listen_history-{DAY}") == "blocked"
    assert query("select count(*) from warehouse.tracks") == [(0,)]
    api.reset()
    monkeypatch.setenv("THRESHOLD_MAX_REJECTED_SHARE", "0.1")

    assert replay.main([f"tracks-{DAY}"]) == 0
    assert replay.main([f"listen_history-{DAY}"]) == 0

    assert api.request_counts()["total"] == 0
    assert status(query, f"tracks-{DAY}") == "published"
    assert query("select count(*) from warehouse.tracks") == [(TRACKS,)]
    assert query("select count(*) from warehouse.listen_history where removed_at is null")[0][0] > 0
    assert_rows_add_up(query)


def test_replay_of_an_unchanged_batch_blocks_again(blocked: Path, query: Query) -> None:
    state = database_state(query)
    assert replay.main([f"tracks-{DAY}"]) == 1
    assert database_state(query) == state


@pytest.mark.usefixtures("blocked")
def test_older_snapshot_does_not_overwrite_a_newer_snapshot(
    api: MockApi, query: Query, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api.set_faults()
    assert ingest.main(["--day", NEXT_DAY]) == 0
    monkeypatch.setenv("THRESHOLD_MAX_REJECTED_SHARE", "0.1")
    state = database_state(query)
    assert replay.main([f"tracks-{DAY}"]) == 1
    assert f"tracks-{NEXT_DAY} is newer and published" in capsys.readouterr().err
    assert database_state(query) == state


def test_replay_without_raw_pages_is_refused(blocked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(blocked / "landing" / "tracks")
    assert replay.main([f"tracks-{DAY}"]) == 1
    assert "are deleted (RETENTION_DAYS) or damaged" in capsys.readouterr().err


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("batch_id", "message"), [("nonsense", "is no batch id"), ("tracks-2020-01-01", "is not in ops.batches")]
)
def test_unknown_batch_is_refused(batch_id: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay.main([batch_id]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("environment")
def test_published_batch_is_not_replayed(query: Query, capsys: pytest.CaptureFixture[str]) -> None:
    assert ingest.main(["--day", DAY, "--endpoint", "tracks"]) == 0
    state = database_state(query)
    assert replay.main([f"tracks-{DAY}"]) == 1
    assert "is published already" in capsys.readouterr().err
    assert database_state(query) == state


@pytest.mark.usefixtures("blocked")
def test_sessions_wait_for_batches_that_another_run_could_not_publish(api: MockApi, query: Query) -> None:
    batch_id = f"listen_history-{DAY}"
    assert replay.main([batch_id]) == 1
    assert reason(query, batch_id).startswith("waits for tracks of the same day, which are not published")
    assert ingest.main(["--day", DAY, "--endpoint", "listen_history"]) == 1
    assert status(query, f"{batch_id}-r2") == "blocked"
    assert query("select count(*) from warehouse.listen_history") == [(0,)]

    # Tracks of a later day also satisfy the dependency. A day without other batches has no dependency.
    api.set_faults()
    assert ingest.main(["--day", NEXT_DAY, "--endpoint", "tracks"]) == 0
    assert replay.main([f"{batch_id}-r2"]) == 0
    assert ingest.main(["--day", "2026-11-22", "--endpoint", "listen_history"]) == 0
    assert_rows_add_up(query)


ACCEPTED = ["--accept", "five tracks are known to be broken", "--by", "ticket 7"]


def reason(query: Query, batch_id: str) -> str:
    return str(query("select reason from ops.batches where batch_id = %s", batch_id)[0][0])


def test_accepted_batch_is_published_and_the_reason_is_stored(
    blocked: Path, query: Query, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay.main([f"tracks-{DAY}", *ACCEPTED]) == 0

    acceptance = "accepted although rejects_are_few failed, by ticket 7: five tracks are known to be broken"
    assert acceptance in capsys.readouterr().out
    assert reason(query, f"tracks-{DAY}") == acceptance
    assert status(query, f"tracks-{DAY}") == "published"
    ((batch_id, reason_text, accepted_by, (waived,)),) = query(
        "select batch_id, reason, accepted_by, waived from ops.acceptances"
    )
    assert (batch_id, reason_text, accepted_by) == (f"tracks-{DAY}", "five tracks are known to be broken", "ticket 7")
    assert (waived["expectation"], waived["observed"]) == ("rejects_are_few", "2.439 %")
    page = (blocked / "data_docs" / "validations" / f"tracks-{DAY}.html").read_text()
    assert '<span class="status accepted">accepted</span>' in page
    assert f"<title>tracks-{DAY}: accepted</title>" in page
    assert page.count(acceptance) == 1
    assert "Blocks publication" not in page
    assert acceptance in (blocked / "data_docs" / "index.html").read_text()
    assert replay.main([f"listen_history-{DAY}"]) == 0  # it waited for the tracks
    assert_rows_add_up(query)

    # The acceptance applies only to this batch; the next batch is blocked.
    assert ingest.main(["--day", NEXT_DAY, "--endpoint", "tracks"]) == 1
    assert status(query, f"tracks-{NEXT_DAY}") == "blocked"


@pytest.mark.usefixtures("blocked")
def test_an_accepted_batch_has_no_failed_task_and_no_error_in_the_log(
    query: Query, run_log: list[LogRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    run_log.clear()
    assert replay.main([f"tracks-{DAY}", *ACCEPTED]) == 0

    assert [record.getMessage() for record in run_log if record.levelno >= WARNING] == []
    [finished] = [record.getMessage() for record in run_log if record.getMessage().startswith("Finished in state")]
    assert re.fullmatch(rf"Finished in state Completed\('tracks-{DAY} published \(\d+ rows changed\)'\)", finished)
    page = Artifact.get("replay-data-docs-tracks")
    assert page is not None
    assert f"validations/tracks-{DAY}.html" in str(page.data)
    tasks = query(
        "select task, succeeded from ops.task_runs where run_id = (select max(run_id) from ops.runs) order by task"
    )
    assert tasks == [(task, True) for task in ("audit", "publish", "shape", "stage")]
    assert "error" not in capsys.readouterr().err.lower()


def test_failures_that_would_corrupt_the_warehouse_cannot_be_accepted(
    blocked: Path, query: Query, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The transformation removes duplicates, so a test must insert one.
    monkeypatch.setattr("pipeline.staging.as_csv", lambda frame: as_csv(pl.concat([frame, frame.head(1)])))
    assert replay.main([f"tracks-{DAY}"]) == 1

    assert replay.main([f"tracks-{DAY}", *ACCEPTED]) == 1

    assert "cannot be accepted" in capsys.readouterr().err
    assert "(id_is_unique)" in reason(query, f"tracks-{DAY}")
    assert query("select count(*) from warehouse.tracks") == [(0,)]
    assert query("select count(*) from ops.acceptances") == [(0,)]


def test_acceptance_covers_only_known_failures(
    blocked: Path, query: Query, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.transformation._typed", _without_names)
    assert replay.main([f"tracks-{DAY}", *ACCEPTED]) == 1
    assert "name_is_not_lost failed for the first time" in capsys.readouterr().err
    assert query("select count(*) from warehouse.tracks") == [(0,)]

    assert replay.main([f"tracks-{DAY}", *ACCEPTED]) == 0  # the failure is now known
    waived = query("select w->>'expectation' from ops.acceptances, jsonb_array_elements(waived) as w order by 1")
    assert waived == [("name_is_not_lost",), ("rejects_are_few",)]


def test_acceptance_does_not_cover_a_worse_value(
    blocked: Path, query: Query, capsys: pytest.CaptureFixture[str]
) -> None:
    tracks = f"tracks-{DAY}"
    query("update ops.expectation_results set observed_value = '2 %' where expectation = 'rejects_are_few' returning 1")
    assert replay.main([tracks, *ACCEPTED]) == 1
    assert "not accepted: rejects_are_few was 2 % at the review, and is 2.439 % now" in capsys.readouterr().err
    assert status(query, tracks) == "blocked"
    assert query("select count(*) from ops.acceptances") == [(0,)]

    assert replay.main([tracks, *ACCEPTED]) == 0  # the failure is now known


def _without_names(decoded: DecodedRows, endpoint: Endpoint) -> pl.DataFrame:
    return _typed(decoded, endpoint).with_columns(name=pl.lit(""))


@pytest.mark.usefixtures("blocked")
def test_older_snapshot_is_not_accepted_over_a_newer_snapshot(
    api: MockApi, query: Query, capsys: pytest.CaptureFixture[str]
) -> None:
    api.set_faults()
    assert ingest.main(["--day", NEXT_DAY]) == 0
    assert replay.main([f"tracks-{DAY}", *ACCEPTED]) == 1
    assert f"tracks-{NEXT_DAY} is newer and published" in capsys.readouterr().err
    assert query("select count(*) from ops.acceptances") == [(0,)]


@pytest.mark.usefixtures("blocked")
def test_acceptance_needs_a_reason_and_a_reference(query: Query, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["--accept", " ", "--by", "ticket 7"], "--accept must not be empty"),
        (["--accept", "known"], "--by must not be empty"),
        (["--by", "ticket 7"], "--accept must not be empty"),
        (["--accept", "known", "--by", "ada@example.com"], "--by must not contain an e-mail address"),
    ):
        assert replay.main([f"tracks-{DAY}", *arguments]) == 2
        assert message in capsys.readouterr().err
    assert status(query, f"tracks-{DAY}") == "blocked"
