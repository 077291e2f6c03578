"""Heartbeats of a run: the first at once, none after the end, and no wait for the next."""

from __future__ import annotations

from threading import Event

import pytest

from flows import heartbeats


def test_a_heartbeat_names_the_run_and_the_end_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, str]] = []
    is_sent = Event()

    def emit(event: str, resource: dict[str, str]) -> None:
        sent.append((event, resource["prefect.resource.id"]))
        is_sent.set()

    monkeypatch.setattr(heartbeats, "emit_event", emit)
    monkeypatch.setattr(heartbeats, "_SECONDS", 3600.0)
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", "some-run")
    with heartbeats.sending_heartbeats():
        assert is_sent.wait(60)
    assert sent == [("prefect.flow-run.heartbeat", "prefect.flow-run.some-run")]


def test_a_failed_heartbeat_is_followed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    is_repeated = Event()

    def emit(event: str, resource: dict[str, str]) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError("no server")
        is_repeated.set()

    monkeypatch.setattr(heartbeats, "emit_event", emit)
    monkeypatch.setattr(heartbeats, "_SECONDS", 0.01)
    with heartbeats.sending_heartbeats():
        assert is_repeated.wait(60)
