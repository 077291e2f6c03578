"""A notification, and the plain text in which it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

Severity = Literal["critical", "warning"]

PREFIX = "[MoovitaMix]"
# The detail of a blocked batch lists every failed expectation, which is too long for a mail.
_LONGEST_DETAIL = 600


@dataclass(frozen=True)
class Notification:
    """A message about one cause. `key` identifies the cause while it lasts; `summary` is a short line.

    `unaffected` says what the cause does not harm. `links` are URLs by label. A notification contains no personal
    data and no secrets.
    """

    key: str
    severity: Severity
    summary: str
    since: datetime
    unaffected: str
    next: str
    detail: str = ""
    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def description(self) -> str:
        """What happened, in one line."""
        detail = self.detail if len(self.detail) <= _LONGEST_DETAIL else f"{self.detail[:_LONGEST_DETAIL]}..."
        return f"{self.summary}: {detail}" if detail else self.summary

    @property
    def subject(self) -> str:
        return f"{PREFIX} {self.summary}"

    @property
    def body(self) -> str:
        since = format_time(self.since)
        return format_lines(What=self.description, Since=since, Kept=self.unaffected, Next=self.next, **self.links)

    def payload(self) -> dict[str, str]:
        """Return the payload of its event, from which `automations.yaml` renders the same mail."""
        return {
            "key": self.key,
            "severity": self.severity,
            "subject": self.subject,
            "what": self.description,
            "since": format_time(self.since),
            "kept": self.unaffected,
            "next": self.next,
            "links": format_lines(**self.links),
        }


def format_lines(**parts: str) -> str:
    """Format each part as a line, such as `What:   The disk is nearly full`."""
    return "\n".join(f"{name + ':':<8}{text}" for name, text in parts.items())


def format_time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def incident_body(incident: dict[str, Any]) -> str:
    """Return the mail text for an open incident of the store."""
    since = format_time(datetime.fromisoformat(incident["since"]))
    return format_lines(What=incident["what"], Since=since, Kept=incident["kept"], Next=incident["next"])


def closing_subject(incident: dict[str, Any]) -> str:
    """Return the subject of the mail that closes an incident of the store."""
    return f"{PREFIX} Over: {incident['what'].partition(': ')[0]}"


def closing_body(incident: dict[str, Any], now: datetime) -> str:
    """Return the text of the mail that closes an incident of the store."""
    since = format_time(datetime.fromisoformat(incident["since"]))
    period = f"{since}, until {format_time(now)}"
    return format_lines(What=f"over: {incident['what']}", Since=period, Kept=incident["kept"])
