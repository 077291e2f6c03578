"""Notifications that Prefect's server tried to send and could not: read from its events, and sent from here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import HTTPBasicAuth

from core.clock import utc_now
from core.settings import Settings
from notifications.automations import BLOCK, mail_of
from notifications.incidents import IncidentStore

_FAILED = "prefect.automation.action.failed"
_SECONDS = 10
_A_PAGE, _MOST_PAGES = 50, 40
# Events are stored a moment after they occurred; looked at again, one is known by its id.
_OVERLAP = timedelta(minutes=2)
_NOTE_SINCE, _NOTE_SEEN = "missed_since", "missed_seen"

Event = dict[str, Any]


@dataclass(frozen=True)
class FailedNotifications:
    """A Prefect server, asked for what it could not send. `login` is user:password, or empty."""

    settings: Settings
    api_url: str
    login: str = ""

    def mail(self, failure: Event) -> tuple[str, str] | None:
        """What it should have sent, made anew. Raises RequestException."""
        name = str(failure["resource"].get("prefect.resource.name", ""))
        return mail_of(self.settings, self.api_url, name, self.cause(failure))

    def failures(self, since: datetime, until: datetime) -> list[Event]:
        """The notifications that failed between these moments. Raises RequestException."""
        occurred = {"since": since.isoformat(), "until": until.isoformat()}
        return self._events({"event": {"name": [_FAILED]}, "occurred": occurred, "order": "ASC"})

    def cause(self, failure: Event) -> Event | None:
        """The event that the notification was about. Raises RequestException."""
        ids = [_id(one) for one in failure["related"] if one.get("prefect.resource.role") == "triggering-event"]
        if not ids:
            return None
        occurred = {"since": (utc_now() - timedelta(days=7)).isoformat()}
        return next(iter(self._events({"id": {"id": ids}, "occurred": occurred})), None)

    def _events(self, events: dict[str, Any]) -> list[Event]:
        user, _, password = self.login.partition(":")
        auth = HTTPBasicAuth(user.encode(), password.encode()) if self.login else None
        url = f"{self.api_url}/events/filter"
        answer = requests.post(url, json={"filter": events, "limit": _A_PAGE}, auth=auth, timeout=_SECONDS)
        found: list[Event] = []
        for _ in range(_MOST_PAGES):
            answer.raise_for_status()
            page = answer.json()
            found += page["events"]
            if not page.get("next_page"):
                break
            # Of its address only what is behind the question mark: the rest is how the server sees itself.
            answer = requests.get(f"{url}/next?{urlsplit(page['next_page']).query}", auth=auth, timeout=_SECONDS)
        return found


def resend_failed_notifications(store: IncidentStore, missed: FailedNotifications) -> int:
    """Put what Prefect could not send among what waits to be delivered, once; returns how many."""
    notes = store.state().notes
    now = utc_now()
    noted = datetime.fromisoformat(notes[_NOTE_SINCE]) if _NOTE_SINCE in notes else now - _OVERLAP
    # A look after now was by a clock that was ahead: what occurred meanwhile has times up to then.
    since, until = min(noted, now) - _OVERLAP, max(noted, now) + _OVERLAP
    try:
        new = [one for one in missed.failures(since, until) if one["id"] not in notes.get(_NOTE_SEEN, [])]
        mails = [(failure, missed.mail(failure)) for failure in new]
    except requests.RequestException:
        return 0  # asked again at the next look, from the same moment on
    told = 0
    for failure, mail in mails:
        to = [one.id for one in store.addresses if _block(failure) == BLOCK.format(place=one.name.rpartition(" ")[2])]
        if mail is not None:
            store.tell(*mail, only=to)
            told += 1
    with store.changing() as state:
        seen = [*state.notes.get(_NOTE_SEEN, []), *(one["id"] for one in new)]
        state.notes |= {_NOTE_SINCE: now.isoformat(), _NOTE_SEEN: seen[-5000:]}
    return told


def _block(failure: Event) -> str:
    names = [
        one.get("prefect.resource.name", "")
        for one in failure["related"]
        if one.get("prefect.resource.role") == "block"
    ]
    return str(names[0]) if names else ""


def _id(resource: dict[str, str]) -> str:
    return resource["prefect.resource.id"].removeprefix("prefect.event.")
