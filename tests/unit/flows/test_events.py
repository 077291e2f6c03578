"""When others are told that something came in."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from flows import events
from flows.run import BatchResult
from pipeline.batches import Batch, Counts

TRACKS = Batch("tracks", date(2026, 11, 22), "http://source")
USERS = Batch("users", date(2026, 11, 22), "http://source")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The batches of each event."""
    batches: list[Any] = []
    monkeypatch.setattr(events, "has_server", lambda: True)
    monkeypatch.setattr(events, "emit_event", lambda **values: batches.append(values["payload"]["batches"]))
    return batches


def test_what_this_run_published_is_told(told: list[Any]) -> None:
    outcomes = [BatchResult(TRACKS, "published", Counts()), BatchResult(USERS, "unchanged", Counts())]
    events.emit_warehouse_published(outcomes)
    assert told == [["tracks-2026-11-22"]]


def test_a_second_run_tells_nothing_again(told: list[Any]) -> None:
    events.emit_warehouse_published([BatchResult(TRACKS, "published", Counts(), published_earlier=True)])
    assert told == []


def test_a_second_run_tells_what_the_first_was_killed_before_it_could_tell(told: list[Any]) -> None:
    outcomes = [
        BatchResult(TRACKS, "published", Counts(), published_earlier=True),
        BatchResult(USERS, "blocked", Counts(), published_earlier=True),
    ]
    events.emit_warehouse_published(outcomes, behind=True)
    assert told == [["tracks-2026-11-22"]]


def test_a_run_that_finds_nothing_new_still_wakes_what_an_earlier_one_left_behind(told: list[Any]) -> None:
    assert events.emit_warehouse_published([BatchResult(TRACKS, "unchanged", Counts())], behind=True)
    assert told == [[]]


def test_without_a_lasting_server_the_next_command_is_named(
    told: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(events, "has_server", lambda: False)
    assert events.emit_warehouse_published([BatchResult(TRACKS, "published", Counts())])
    assert told == []
    assert capsys.readouterr().out.splitlines()[-1].endswith(": .venv/bin/python -m flows.recommend")
