"""Everything that can go wrong and has a name.

MoovitamixError
├── SettingsError             a setting or an argument is wrong; exit 2
│   └── UsageError            what a person typed cannot be used: they see it, and nobody is notified
│       ├── UnknownBatch      no batch has that id; a ReplayRefused too
│       └── UnusablePublication  no publication that can go live has that number; a PublicationError too
├── SourceError               the API could not be read
│   ├── TransientSourceError  may pass: connection, time-out, 429, 5xx, cut or unreadable body
│   │   └── SnapshotChanged         the list changed while it was read
│   └── TerminalSourceError   will not pass: other 4xx, an envelope that breaks the contract
├── LandingError              raw pages, or what is made of them, could not be written or read back
│   ├── DamagedPages          what was written is not what is there
│   └── DiskFull              because there is no room
├── BatchBlocked              an audit found something critical
├── DatabaseError             Postgres is unreachable, or the role lacks a right
│   ├── DatabaseUnavailable          it does not answer, or went away
│   ├── DatabaseFull          it has no disk space left
│   ├── LoginRefused          it takes no connection of this login, or has no such database
│   └── StatementRefused      Postgres refuses this one statement, and will take others
├── AlreadyRunning            another ingest holds the lock
├── ReplayRefused             the batch cannot be replayed (unknown, pruned, or overtaken)
├── InteractionsError         plays that nothing can be learned from: negative, not finite, ids that are no integers
├── ModelError                a model failed: raised, ran out of time or memory, gave scores that are no numbers
│   └── ModelFileError        the file of a model is missing, damaged, or of another version
├── PublicationError          a list cannot be published or rolled back to (unknown, pruned, or overtaken)
└── UnexpectedError           a defect of ours: its kind and place, without its text, which may quote a row

Retries look at the family only: a `TransientSourceError` is tried again, nothing else is.
Messages are one line, say what happened, where, and what to do, and never hold a person's data.
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from core.audits import ExpectationResult


class MoovitamixError(Exception):
    """Base of all errors that are shown to a person as one line.

    `cause` is the part of the machine that failed, "database" or "disk", whatever a run was about; empty otherwise.
    """

    cause = ""


class SettingsError(MoovitamixError):
    """A setting or a command-line argument cannot be used."""


class UsageError(SettingsError):
    """What a person typed cannot be used: an argument, an id that nothing has, a file that cannot be read.

    Whoever typed it can put it right, so it is reported to them alone.
    """


class SourceError(MoovitamixError):
    """The API could not be read."""


class TransientSourceError(SourceError):
    """The API could not be read now, and may be later. `retry_after` is in seconds, if it said so."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SnapshotChanged(TransientSourceError):
    """The list changed between two pages of one read."""


class TerminalSourceError(SourceError):
    """The API answered, and asking again will not help."""


class LandingError(MoovitamixError):
    """Raw pages could not be written to, or read back from, the landing folder."""


class DamagedPages(LandingError):
    """A file of raw pages is there, and no longer what was written."""


class DiskFull(LandingError):
    """There is no room on the disk of DATA_DIR."""

    cause = "disk"


class BatchBlocked(MoovitamixError):
    """A batch failed its audit; nothing of it reaches the warehouse."""

    def __init__(self, batch_id: str, failures: Sequence[str], results: Sequence[ExpectationResult] = ()) -> None:
        super().__init__(f"{batch_id} blocked: {'; '.join(failures)}")
        self.batch_id = batch_id
        self.failures = tuple(failures)
        self.results = tuple(results)


class DatabaseError(MoovitamixError):
    """Postgres cannot be reached, or refuses what we ask of it."""


class DatabaseUnavailable(DatabaseError):
    """Postgres does not answer."""

    cause = "database"


class DatabaseFull(DatabaseError):
    """Postgres has no disk space left."""

    cause = "disk"


class LoginRefused(DatabaseError):
    """Postgres answers, and takes no connection with this login, to this database, from here."""


class StatementRefused(DatabaseError):
    """Postgres refuses a statement for what is in it; the database itself is well."""


class AlreadyRunning(MoovitamixError):
    """Another ingest is at work, and did not end within the time we wait."""


class ReplayRefused(MoovitamixError):
    """A batch that cannot, or must not, be replayed."""


class UnknownBatch(ReplayRefused, UsageError):
    """There is no batch with that id."""


class InteractionsError(MoovitamixError):
    """Plays that no model can learn from."""


class ModelError(MoovitamixError):
    """A model could not learn or score."""


class ModelFileError(ModelError):
    """A model's file cannot be read."""


class PublicationError(MoovitamixError):
    """A list of recommendations that cannot go live."""


class UnusablePublication(PublicationError, UsageError):
    """There is no publication with that number, or its lists cannot go live."""


class UnexpectedError(MoovitamixError):
    """An error that has no name. The message says its kind and where in our code it came up."""


# Whoever asked for it can put it right, and nobody else: it is reported to them alone.
REFUSALS = (UsageError, ReplayRefused)


@contextmanager
def named_errors() -> Iterator[None]:
    """Let only errors with a name through, so that one batch's misfortune neither ends the run nor quotes a row.

    Raises LandingError for the disk and UnexpectedError for all else; errors of ours pass as they are.
    """
    try:
        yield
    except MoovitamixError:
        raise
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        kind = DiskFull if is_disk_full(error) else LandingError
        raise kind(f"working files cannot be written or read: {error.strerror or error}{where}") from error
    except Exception as error:
        raise UnexpectedError(summarize_defect(error)) from error


def is_disk_full(error: OSError) -> bool:
    """Whether it is for want of room."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def summarize_defect(error: BaseException) -> str:
    """The kind of an error and the last place in our code on its way."""
    ours = [f for f in traceback.extract_tb(error.__traceback__) if _is_ours(Path(f.filename))]
    place = f" at {Path(ours[-1].filename).relative_to(_ROOT)}:{ours[-1].lineno}" if ours else ""
    return f"unforeseen {type(error).__name__}{place}; please report it"


def _is_ours(path: Path) -> bool:
    return path.is_relative_to(_ROOT) and "site-packages" not in path.parts


_ROOT = Path(__file__).parent.parent
