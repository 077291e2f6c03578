"""Which runs emit the event `moovitamix.warehouse.published`, and which batches it lists."""

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
def event_batches(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The batch ids in each emitted event."""
    batches: list[Any] = []
    monkeypatch.setattr(events, "has_server", lambda: True)
    monkeypatch.setattr(events, "emit_event", lambda **values: batches.append(values["payload"]["batches"]))
    return batches


def test_event_lists_batches_that_the_run_published(event_batches: list[Any]) -> None:
    results = [BatchResult(TRACKS, "published", Counts()), BatchResult(USERS, "unchanged", Counts())]
    events.emit_warehouse_published(results)
    assert event_batches == [["tracks-2026-11-22"]]


def test_second_run_emits_no_event(event_batches: list[Any]) -> None:
    events.emit_warehouse_published([BatchResult(TRACKS, "published", Counts(), published_earlier=True)])
    assert event_batches == []


def test_second_run_emits_the_event_of_a_killed_run(event_batches: list[Any]) -> None:
    results = [
        BatchResult(TRACKS, "published", Counts(), published_earlier=True),
        BatchResult(USERS, "blocked", Counts(), published_earlier=True),
    ]
    events.emit_warehouse_published(results, behind=True)
    assert event_batches == [["tracks-2026-11-22"]]


def test_unchanged_run_emits_an_event_if_recommendations_are_behind(event_batches: list[Any]) -> None:
    assert events.emit_warehouse_published([BatchResult(TRACKS, "unchanged", Counts())], behind=True)
    assert event_batches == [[]]


def test_without_a_server_the_next_command_is_printed(
    event_batches: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(events, "has_server", lambda: False)
    assert events.emit_warehouse_published([BatchResult(TRACKS, "published", Counts())])
    assert event_batches == []
    assert capsys.readouterr().out.splitlines()[-1].endswith(": .venv/bin/python -m flows.recommend")
