"""The command that audits the stream of the local services."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from cli import stream_audit
from core.errors import SettingsError


def test_flow_gets_the_broker_of_the_local_services(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(stream_audit, "load_local_services", lambda: SimpleNamespace(bootstrap_servers="here:9092"))
    monkeypatch.setattr(stream_audit.audit_stream, "audit_stream", lambda **values: calls.append(values))

    assert stream_audit.main(["--hours=2"]) == 0

    assert calls == [{"hours": 2.0, "bootstrap_servers": "here:9092"}]


def test_flow_reports_wrong_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise SettingsError("wrong setting")

    calls: list[object] = []
    monkeypatch.setattr(stream_audit, "load_local_services", fail)
    monkeypatch.setattr(stream_audit.audit_stream, "audit_stream", lambda **values: calls.append(values))

    assert stream_audit.main([]) == 0

    assert calls == [{"hours": None, "bootstrap_servers": ""}]
