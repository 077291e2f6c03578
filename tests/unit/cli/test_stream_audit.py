"""The command that audits the stream of the local services."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from cli import stream_audit
from core.errors import SettingsError

NAME = "STREAM_BOOTSTRAP_SERVERS"


def test_flow_gets_the_broker_of_the_local_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NAME, raising=False)
    monkeypatch.setattr(stream_audit, "load_local_services", lambda: SimpleNamespace(bootstrap_servers="here:9092"))
    monkeypatch.setattr(stream_audit.audit_stream, "main", lambda arguments: [arguments, os.environ[NAME]])

    assert stream_audit.main(["--json"]) == [["--json"], "here:9092"]  # type: ignore[comparison-overlap]
    assert NAME not in os.environ


def test_flow_reports_wrong_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise SettingsError("wrong setting")

    monkeypatch.setenv(NAME, "mine:9092")
    monkeypatch.setattr(stream_audit, "load_local_services", fail)
    monkeypatch.setattr(stream_audit.audit_stream, "main", lambda arguments: os.environ[NAME])

    assert stream_audit.main([]) == "mine:9092"  # type: ignore[comparison-overlap]
    assert os.environ[NAME] == "mine:9092"
