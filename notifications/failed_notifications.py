"""Resends notifications that Prefect's server failed to send. They are read from its events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import requests

from core.clock import utc_now
from core.prefect_client import PrefectClient
from core.settings import Settings
from notifications.automations import BLOCK, render_mail
from notifications.incidents import IncidentStore

_FAILED = "prefect.automation.action.failed"
_SECONDS = 10
_PAGE_SIZE, _MAX_PAGES = 50, 40
# The server stores an event a moment after it occurred, so consecutive time ranges overlap. Ids identify duplicates.
_OVERLAP = timedelta(minutes=2)
_NOTE_SINCE, _NOTE_SEEN = "missed_since", "missed_seen"

Event = dict[str, Any]


@dataclass(frozen=True)
class FailedNotifications:
    """The failed notifications of one Prefect server. `login` is user:password, or empty."""

    settings: Settings
    api_url: str
    login: str = ""

    def mail(self, failure: Event) -> tuple[str, str] | None:
        """Render the mail that failed: subject and text. Raises RequestException."""
        name = str(failure["resource"].get("prefect.resource.name", ""))
        return render_mail(self.settings, self.api_url, name, self.cause(failure))

    def failures(self, since: datetime, until: datetime) -> list[Event]:
        """Return the events of notifications that failed between these times. Raises RequestException."""
        occurred = {"since": since.isoformat(), "until": until.isoformat()}
        return self._events({"event": {"name": [_FAILED]}, "occurred": occurred, "order": "ASC"})

    def cause(self, failure: Event) -> Event | None:
        """Return the event that the notification was about. Raises RequestException."""
        ids = [
            resource["prefect.resource.id"].removeprefix("prefect.event.")
            for resource in failure["related"]
            if resource.get("prefect.resource.role") == "triggering-event"
        ]
        if not ids:
            return None
        occurred = {"since": (utc_now() - timedelta(days=7)).isoformat()}
        return next(iter(self._events({"id": {"id": ids}, "occurred": occurred})), None)

    def _events(self, event_filter: dict[str, Any]) -> list[Event]:
        server = PrefectClient(self.api_url, self.login, tries=0, seconds=_SECONDS)
        page = server.ask("POST", "events/filter", {"filter": event_filter, "limit": _PAGE_SIZE})
        events: list[Event] = page["events"]
        for _ in range(_MAX_PAGES - 1):
            if not page.get("next_page"):
                break
            # Only the query is used: the host is the server's own name for itself, which we may not reach.
            page = server.ask("GET", f"events/filter/next?{urlsplit(page['next_page']).query}")
            events += page["events"]
        return events


def resend_failed_notifications(store: IncidentStore, failed_notifications: FailedNotifications) -> int:
    """Queue each notification that Prefect failed to send, once. Return how many were queued."""
    notes = store.state().notes
    now = utc_now()
    last_check = datetime.fromisoformat(notes[_NOTE_SINCE]) if _NOTE_SINCE in notes else now - _OVERLAP
    # If the clock was ahead at the last check, events of that period have times in the future.
    since, until = min(last_check, now) - _OVERLAP, max(last_check, now) + _OVERLAP
    processed_ids = notes.get(_NOTE_SEEN, [])
    try:
        failures = [
            failure for failure in failed_notifications.failures(since, until) if failure["id"] not in processed_ids
        ]
        mails = [(failure, failed_notifications.mail(failure)) for failure in failures]
    except requests.RequestException:
        return 0  # the next check covers the same period again
    queued = 0
    for failure, mail in mails:
        address_ids = [
            address.id
            for address in store.addresses
            if _block_name(failure) == BLOCK.format(place=address.name.rpartition(" ")[2])
        ]
        if mail is not None:
            store.queue_message(*mail, only=address_ids)
            queued += 1
    with store.locked_state() as state:
        event_ids = [*state.notes.get(_NOTE_SEEN, []), *(failure["id"] for failure in failures)]
        state.notes |= {_NOTE_SINCE: now.isoformat(), _NOTE_SEEN: event_ids[-5000:]}
    return queued


def _block_name(failure: Event) -> str:
    names = [
        resource.get("prefect.resource.name", "")
        for resource in failure["related"]
        if resource.get("prefect.resource.role") == "block"
    ]
    return str(names[0]) if names else ""
