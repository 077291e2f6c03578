"""Replay: a blocked batch comes in after the threshold was mended, without fetching; and when it must not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flows import ingest, replay
from tests.conftest import TRACKS, MockApi, Query
from tests.states import assert_rows_add_up, state

pytestmark = pytest.mark.usefixtures("prefect_server")

DAY, NEXT_DAY = "2026-11-20", "2026-11-21"


@pytest.fixture
def blocked(api: MockApi, environment: Path) -> Path:
    """Day one: tracks hold too many bad rows, and listens wait for them. Returns the data folder."""
    api.faults({"endpoint": "tracks", "bad_rows": {"id_null": 5}})
    assert ingest.main(["--day", DAY]) == 1
    return environment


def status(query: Query, batch_id: str) -> str:
    return str(query("select status from ops.batches where batch_id = %s", batch_id)[0][0])


def test_a_mended_threshold_lets_the_batch_in_without_fetching(
    blocked: Path, api: MockApi, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert status(query, f"tracks-{DAY}") == "blocked"
    assert status(query, f"listen_history-{DAY}") == "blocked"
    assert query("select count(*) from warehouse.tracks") == [(0,)]
    api.reset()
    monkeypatch.setenv("THRESHOLD_MAX_REJECTED_SHARE", "0.1")

    assert replay.main([f"tracks-{DAY}"]) == 0
    assert replay.main([f"listen_history-{DAY}"]) == 0

    assert api.requests()["total"] == 0
    assert status(query, f"tracks-{DAY}") == "published"
    assert query("select count(*) from warehouse.tracks") == [(TRACKS,)]
    assert query("select count(*) from warehouse.listen_history where removed_at is null")[0][0] > 0
    assert_rows_add_up(query)


def test_a_batch_that_is_still_bad_is_blocked_again(blocked: Path, query: Query) -> None:
    before = state(query)
    assert replay.main([f"tracks-{DAY}"]) == 1
    assert state(query) == before


@pytest.mark.usefixtures("blocked")
def test_an_older_list_does_not_overwrite_a_newer_one(
    api: MockApi, query: Query, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api.faults()
    assert ingest.main(["--day", NEXT_DAY]) == 0
    monkeypatch.setenv("THRESHOLD_MAX_REJECTED_SHARE", "0.1")
    before = state(query)
    assert replay.main([f"tracks-{DAY}"]) == 1
    assert f"tracks-{NEXT_DAY} was published since" in capsys.readouterr().err
    assert state(query) == before


def test_pages_that_are_gone_cannot_be_replayed(blocked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(blocked / "landing" / "tracks")
    assert replay.main([f"tracks-{DAY}"]) == 1
    assert "are not kept any more" in capsys.readouterr().err


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("batch_id", "says"), [("nonsense", "is no batch id"), ("tracks-2020-01-01", "is not in ops.batches")]
)
def test_an_unknown_batch_is_refused_in_one_line(batch_id: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay.main([batch_id]) == 1
    assert says in capsys.readouterr().err


@pytest.mark.usefixtures("environment")
def test_a_published_batch_is_not_replayed(query: Query, capsys: pytest.CaptureFixture[str]) -> None:
    assert ingest.main(["--day", DAY, "--endpoint", "tracks"]) == 0
    before = state(query)
    assert replay.main([f"tracks-{DAY}"]) == 1
    assert "is published already" in capsys.readouterr().err
    assert state(query) == before
