"""An alert, and the one plain form in which it is told, whichever way it goes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

Severity = Literal["critical", "warning"]

PREFIX = "[MoovitaMix]"
RUNBOOK = "docs/operations.md"
# A reason lists every failed expectation: a mail need not.
_LONGEST_DETAIL = 600


@dataclass(frozen=True)
class Notification:
    """One cause that somebody must know of. `key` is the same for as long as the cause is; `what` is a short line.

    Nothing in it is about a person, and nothing in it is secret.
    """

    key: str
    severity: Severity
    what: str
    since: datetime
    kept: str
    next: str
    detail: str = ""

    @property
    def told(self) -> str:
        """What happened, in one line."""
        detail = self.detail if len(self.detail) <= _LONGEST_DETAIL else f"{self.detail[:_LONGEST_DETAIL]}..."
        return f"{self.what}: {detail}" if detail else self.what

    @property
    def subject(self) -> str:
        """The subject of the mail."""
        return f"{PREFIX} {self.what}"

    @property
    def body(self) -> str:
        """The text of the mail."""
        return in_lines(What=self.told, Since=at(self.since), Kept=self.kept, Next=self.next)

    def payload(self) -> dict[str, str]:
        """As an event carries it; `automations.yaml` makes the same mail of it."""
        return {
            "key": self.key,
            "severity": self.severity,
            "subject": self.subject,
            "what": self.told,
            "since": at(self.since),
            "kept": self.kept,
            "next": self.next,
        }


def in_lines(**parts: str) -> str:
    """One line a part, such as `What:   The disk is nearly full`."""
    return "\n".join(f"{name + ':':<8}{text}" for name, text in parts.items())


def at(moment: datetime) -> str:
    """A moment as people read it."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def body_of(entry: dict[str, Any]) -> str:
    """The text of the mail that tells an open alert, as the store keeps it now."""
    since = at(datetime.fromisoformat(entry["since"]))
    return in_lines(What=entry["what"], Since=since, Kept=entry["kept"], Next=entry["next"])


def subject_when_over(entry: dict[str, Any]) -> str:
    """The subject of the mail that tells an alert's end; `entry` is as the store keeps it."""
    return f"{PREFIX} Over: {entry['what'].partition(': ')[0]}"


def body_when_over(entry: dict[str, Any], now: datetime) -> str:
    """The text of that mail."""
    since = at(datetime.fromisoformat(entry["since"]))
    return in_lines(What=f"over: {entry['what']}", Since=f"{since}, until {at(now)}", Kept=entry["kept"])
