"""Everything that can go wrong and has a name.

MoovitamixError
├── SettingsError             a setting or an argument is wrong; exit 2
├── SourceError               the API could not be read
│   ├── TransientSourceError  may pass: connection, time-out, 429, 5xx, cut or unreadable body
│   │   └── ListMoved         the list changed while it was read
│   └── TerminalSourceError   will not pass: other 4xx, an envelope that breaks the contract
├── LandingError              raw pages could not be written or read back
├── BatchBlocked              an audit found something critical
├── DatabaseError             Postgres is unreachable, or the role lacks a right
├── AlreadyRunning            another ingest holds the lock
└── ReplayRefused             the batch cannot be replayed (unknown, pruned, or overtaken)

Retries look at the family only: a `TransientSourceError` is tried again, nothing else is.
Messages are one line, say what happened, where, and what to do, and never hold a person's data.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.audits import ExpectationResult


class MoovitamixError(Exception):
    """Base of all errors that are shown to a person as one line."""


class SettingsError(MoovitamixError):
    """A setting or a command-line argument cannot be used."""


class SourceError(MoovitamixError):
    """The API could not be read."""


class TransientSourceError(SourceError):
    """The API could not be read now, and may be later. `retry_after` is in seconds, if it said so."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ListMoved(TransientSourceError):
    """The list changed between two pages of one read."""


class TerminalSourceError(SourceError):
    """The API answered, and asking again will not help."""


class LandingError(MoovitamixError):
    """Raw pages could not be written to, or read back from, the landing folder."""


class BatchBlocked(MoovitamixError):
    """A batch failed its audit; nothing of it reaches the warehouse."""

    def __init__(self, batch_id: str, failures: Sequence[str], results: Sequence[ExpectationResult] = ()) -> None:
        super().__init__(f"{batch_id} blocked: {'; '.join(failures)}")
        self.batch_id = batch_id
        self.failures = tuple(failures)
        self.results = tuple(results)


class DatabaseError(MoovitamixError):
    """Postgres cannot be reached, or refuses what we ask of it."""


class AlreadyRunning(MoovitamixError):
    """Another ingest is at work, and did not end within the time we wait."""


class ReplayRefused(MoovitamixError):
    """A batch that cannot, or must not, be replayed."""
