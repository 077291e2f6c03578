"""A defect in the notification path is logged with its traceback and shown on the health page."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from core.clock import utc_now
from core.settings import load_settings
from flows import failures
from notifications.notification import Notification
from serving.dashboard.incidents import read_incidents

SECRET = "alice@example.com"


@pytest.fixture
def notification(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Notification:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ALERT_URLS", "json://127.0.0.1:9")
    monkeypatch.setattr(failures, "send", lambda *_: True)
    return Notification("x", "critical", "tracks is blocked", utc_now(), "all", "replay")


def test_a_defect_is_logged_and_shown_until_a_notification_works(
    notification: Notification, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as broken, caplog.at_level(logging.ERROR):
        broken.setattr(failures.IncidentStore, "queue_message", lambda *_: {}[SECRET])
        failures.send_now(notification)

    assert "a notification could not be sent: unexpected KeyError" in caplog.text
    assert "in send_now" in (tmp_path / "logs" / "tracebacks.log").read_text()
    (incident,) = read_incidents(load_settings(), utc_now()).incidents
    assert (incident.key, incident.severity) == ("notification-defect", "critical")
    assert SECRET not in incident.summary + caplog.text

    failures._close_incidents()  # as a run that succeeds and sends nothing
    assert read_incidents(load_settings(), utc_now()).incidents == [incident]
    failures.send_now(notification)
    assert read_incidents(load_settings(), utc_now()).incidents == ()
