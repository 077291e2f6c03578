"""Events after an ingest: they are only triggers, and the state is in the database."""

from __future__ import annotations

from typing import Any

import pytest

from flows import events, ingest, recommend
from flows.events import WAREHOUSE_PUBLISHED, WAREHOUSE_UNCHANGED
from tests.conftest import MockApi

DAYS = ("2026-11-20", "2026-11-21", "2026-11-22")


@pytest.mark.usefixtures("quick")
def test_unchanged_ingest_emits_the_event_that_an_earlier_one_could_not_emit(
    api: MockApi, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    emitted: list[str] = []
    server_is_running = False

    def emit(event: str, **values: Any) -> None:
        emitted.append(event)

    monkeypatch.setattr(events, "emit_event", emit)
    monkeypatch.setattr(events, "has_server", lambda: server_is_running)

    assert ingest.main(["--day", DAYS[0]]) == 0
    assert capfd.readouterr().out.splitlines()[-1].endswith(": .venv/bin/python -m flows.recommend")
    assert emitted == []

    server_is_running = True
    assert ingest.main(["--day", DAYS[1]]) == 0  # the scheduled run of the next night: no new rows
    assert "unchanged" in capfd.readouterr().out
    assert emitted == [WAREHOUSE_PUBLISHED]

    assert recommend.main([]) == 0
    emitted.clear()
    assert ingest.main(["--day", DAYS[2]]) == 0
    assert emitted == [WAREHOUSE_UNCHANGED]
