"""Failed notifications of Prefect are read from its events and resent once each."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from core.clock import utc_now
from core.settings import Settings
from notifications import failed_notifications
from notifications.delivery import Address
from notifications.failed_notifications import FailedNotifications, resend_failed_notifications
from notifications.incidents import IncidentStore


class Events(FailedNotifications):
    """The events of a server that can be down."""

    down = False

    def _events(self, event_filter: dict[str, Any]) -> list[dict[str, Any]]:
        if self.down:
            raise requests.ConnectionError
        if "id" in event_filter:
            return [{"payload": {"subject": event_filter["id"]["id"][0], "what": "it"}, "resource": {}}]
        since, until = event_filter["occurred"]["since"], event_filter["occurred"]["until"]
        return [event for event in FAILURES if since <= event["occurred"] <= until]


def failure(number: int, occurred: datetime) -> dict[str, Any]:
    return {
        "id": str(number),
        "occurred": occurred.isoformat(),
        "resource": {"prefect.resource.name": "Notify: a batch is blocked"},
        "related": [
            {"prefect.resource.role": "triggering-event", "prefect.resource.id": f"prefect.event.subject-{number}"},
            {"prefect.resource.role": "block", "prefect.resource.name": "moovitamix-alerts-1"},
        ],
    }


FAILURES: list[dict[str, Any]] = []


def test_each_failed_notification_is_resent_once_to_its_address(tmp_path: Path) -> None:
    sent: list[tuple[str, str]] = []

    def send(address: Address, subject: str, _: str) -> bool:
        sent.append((address.id, subject))
        return True

    store = IncidentStore(
        tmp_path, [Address("address 1", "a", "x://"), Address("address 2", "b", "x://")], send, utc_now
    )
    server = Events(Settings(_env_file=None), "http://127.0.0.1:4200/api")  # type: ignore[call-arg]
    began = utc_now()
    FAILURES[:] = [failure(n, began + timedelta(milliseconds=n)) for n in range(120)]
    for _ in range(5):
        resend_failed_notifications(store, server)
        store.deliver()
    # All are within the overlap of consecutive checks.
    assert sorted(sent) == sorted(("a", f"subject-{n}") for n in range(120))


def test_check_after_an_outage_covers_the_same_period(tmp_path: Path) -> None:
    store = IncidentStore(tmp_path, [Address("address 1", "a", "x://")], lambda *_: True, utc_now)
    server = Events(Settings(_env_file=None), "http://127.0.0.1:4200/api")  # type: ignore[call-arg]
    FAILURES.clear()
    resend_failed_notifications(store, server)
    Events.down = True
    try:
        assert resend_failed_notifications(store, server) == 0
        FAILURES[:] = [failure(1, utc_now())]
    finally:
        Events.down = False
    assert resend_failed_notifications(store, server) == 1
    assert resend_failed_notifications(store, server) == 0


def test_no_failure_is_missed_after_the_clock_was_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures with times in the future, and later ones, are resent."""
    real_now = utc_now()
    now = real_now + timedelta(days=190)
    monkeypatch.setattr(failed_notifications, "utc_now", lambda: now)
    store = IncidentStore(tmp_path, [Address("address 1", "a", "x://")], lambda *_: True, lambda: now)
    server = Events(Settings(_env_file=None), "http://127.0.0.1:4200/api")  # type: ignore[call-arg]
    FAILURES.clear()
    resend_failed_notifications(store, server)
    FAILURES[:] = [failure(1, now), failure(2, real_now)]
    now = real_now + timedelta(seconds=5)
    assert resend_failed_notifications(store, server) == 2
    FAILURES.append(failure(3, real_now + timedelta(seconds=10)))
    now = real_now + timedelta(seconds=20)
    assert resend_failed_notifications(store, server) == 1
