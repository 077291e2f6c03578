"""Events of an ingest are only triggers. The state is in the database, so a later ingest emits a missed event."""

from __future__ import annotations

from typing import Any

import pytest

from flows import events, ingest, recommend
from flows.events import WAREHOUSE_PUBLISHED, WAREHOUSE_UNCHANGED
from tests.conftest import MockApi

DAYS = ("2026-11-20", "2026-11-21", "2026-11-22")


@pytest.mark.usefixtures("quick")
def test_unchanged_ingest_emits_the_event_that_an_earlier_ingest_could_not_emit(
    api: MockApi, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    emitted_events: list[str] = []
    server_is_running = False

    def emit(event: str, **values: Any) -> None:
        emitted_events.append(event)

    monkeypatch.setattr(events, "emit_event", emit)
    monkeypatch.setattr(events, "has_server", lambda: server_is_running)

    assert ingest.main(["--day", DAYS[0]]) == 0
    assert capfd.readouterr().out.splitlines()[-1].endswith(": .venv/bin/python -m flows.recommend")
    assert emitted_events == []

    server_is_running = True
    assert ingest.main(["--day", DAYS[1]]) == 0  # the run of the next night finds no new rows
    assert "unchanged" in capfd.readouterr().out
    assert emitted_events == [WAREHOUSE_PUBLISHED]

    assert recommend.main([]) == 0
    emitted_events.clear()
    assert ingest.main(["--day", DAYS[2]]) == 0
    assert emitted_events == [WAREHOUSE_UNCHANGED]
