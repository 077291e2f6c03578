"""The error classes that several packages share. A package defines its own errors beside the code that raises them.

MoovitamixError
├── SettingsError                a setting or an argument is wrong; exit code 2
│   └── UsageError               a person typed an invalid value; only they see the message
│       ├── UnknownBatch         no batch has this id; also a ReplayRefused
│       └── UnusablePublication  no publication with this number can go live; also a PublicationError
├── SourceError                  the API could not be read
│   ├── TransientSourceError     a retry may help: connection, time-out, 429, 5xx, incomplete or unreadable body
│   │   └── SnapshotChanged      the snapshot changed during extraction
│   └── TerminalSourceError      a retry does not help: other 4xx
├── LandingError                 raw pages or working files could not be written or read
│   ├── DamagedPages             a file of raw pages does not hold what was written
│   ├── DiskFull                 the disk of DATA_DIR is full
│   └── ObjectStoreError         the object store refuses a request
│       └── ObjectStoreUnavailable  the object store does not answer
├── BatchBlocked                 an audit blocked a batch or a publication
├── StreamAuditFailed            streamed sessions or fresh recommendations failed their audit
├── DatabaseError                Postgres is unreachable, or the role lacks a right
│   ├── DatabaseUnavailable      Postgres does not answer, or closed the connection
│   ├── DatabaseFull             Postgres has no disk space left
│   ├── LoginRefused             Postgres refuses this login, or has no such database
│   └── StatementRefused         Postgres refused one statement, and accepts others
├── AlreadyRunning               another run holds the lock
├── ReplayRefused                the batch cannot be replayed: unknown, pruned, or a newer batch is published
├── InteractionsError            invalid training data: negative or non-finite plays, or non-integer ids
├── ModelError                   a model raised, used too much time or memory, or returned invalid scores
│   └── ModelFileError           the file of a model is missing, damaged, or from another version
├── ComputeError                 blocks of work could not be computed on the Dask cluster
│   ├── ClusterUnavailable       the scheduler does not answer or was lost, or no worker computes in time
│   └── BlockFailed              a block ended its worker twice
├── PublicationError             recommendations cannot be published, or a rollback to them is impossible
└── UnexpectedError              a defect in our code; shows type and place, not the text, which may quote a row

Only a `TransientSourceError` is retried.
A message is one line. It says what happened, where, and what to do next. It never holds personal data.
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.audits import ExpectationResult


class MoovitamixError(Exception):
    """Base of the project's errors. A command prints such an error as one line, without a traceback.

    `cause` is "database" or "disk" if that resource failed, otherwise empty.
    """

    cause = ""


class SettingsError(MoovitamixError):
    """A setting or a command-line argument cannot be used."""


class UsageError(SettingsError):
    """A person typed an invalid value, such as an unknown id or an unreadable file. Nobody else is notified."""


class SourceError(MoovitamixError):
    """The API could not be read."""


class TransientSourceError(SourceError):
    """The API could not be read, and a retry may help. `retry_after` is the requested wait in seconds."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SnapshotChanged(TransientSourceError):
    """The snapshot changed during extraction."""


class TerminalSourceError(SourceError):
    """The API rejected the request, and a retry does not help."""


class LandingError(MoovitamixError):
    """Raw pages or working files could not be written or read."""


class DamagedPages(LandingError):
    """A file of raw pages does not hold what was written."""


class DiskFull(LandingError):
    """The disk of DATA_DIR is full."""

    cause = "disk"


class ObjectStoreError(LandingError):
    """The object store refuses a request: no such bucket, wrong credentials, or a missing right."""


class ObjectStoreUnavailable(ObjectStoreError):
    """The object store does not answer, or cannot work."""


class BatchBlocked(MoovitamixError):
    """A batch or a publication failed its audit. None of its rows is published."""

    def __init__(self, batch_id: str, failures: Sequence[str], results: Sequence[ExpectationResult] = ()) -> None:
        super().__init__(f"{batch_id} blocked: {'; '.join(failures)}")
        self.batch_id = batch_id
        self.failures = tuple(failures)
        self.results = tuple(results)


class StreamAuditFailed(MoovitamixError):
    """Streamed sessions or fresh recommendations failed their audit. Sessions stay, and failed lists are deleted.

    `deleted_lists` is the number of deleted recommendation lists.
    """

    def __init__(self, failed: Sequence[BatchBlocked], deleted_lists: int) -> None:
        failures = "; ".join(f"{audit.batch_id} failed: {'; '.join(audit.failures)}" for audit in failed)
        super().__init__(failures)
        self.failed = tuple(failed)
        self.deleted_lists = deleted_lists


class DatabaseError(MoovitamixError):
    """Postgres cannot be reached, or refuses a request."""


class DatabaseUnavailable(DatabaseError):
    """Postgres does not answer."""

    cause = "database"


class DatabaseFull(DatabaseError):
    """Postgres has no disk space left."""

    cause = "disk"


class LoginRefused(DatabaseError):
    """Postgres refuses connections of this login to this database."""


class StatementRefused(DatabaseError):
    """Postgres refused one statement because of its content. It accepts other statements."""


class AlreadyRunning(MoovitamixError):
    """Another run still holds the lock after the time limit."""


class ReplayRefused(MoovitamixError):
    """The batch cannot or must not be replayed. The message says why."""


class UnknownBatch(ReplayRefused, UsageError):
    """No batch has this id."""


class InteractionsError(MoovitamixError):
    """Invalid plays in the training data."""


class ModelError(MoovitamixError):
    """A model could not be trained, or could not score."""


class ModelFileError(ModelError):
    """A model's file cannot be read."""


class ComputeError(MoovitamixError):
    """Blocks of work could not be computed on the Dask cluster. None of their results is used."""


class ClusterUnavailable(ComputeError):
    """The Dask scheduler or its workers do not answer in time, or run another version."""


class BlockFailed(ComputeError):
    """A block of work ended the worker that computed it, twice."""


class PublicationError(MoovitamixError):
    """Recommendations cannot be published, or a rollback to them is impossible."""


class UnusablePublication(PublicationError, UsageError):
    """No publication has this number, or its recommendations cannot go live."""


class UnexpectedError(MoovitamixError):
    """A defect in our code. The message contains the type of the original error and its place, but not its text."""


# Only the person who made the request can correct it, so nobody else is notified.
REFUSALS = (UsageError, ReplayRefused)


@contextmanager
def named_errors() -> Iterator[None]:
    """Convert other exceptions to a MoovitamixError, so that one batch cannot end a run and no message quotes a row.

    Raises DiskFull or LandingError for an OSError of a file, and UnexpectedError for other exceptions. MoovitamixErrors
    pass unchanged.
    """
    try:
        yield
    except MoovitamixError:
        raise
    except OSError as error:
        if _is_of_network(error):
            raise UnexpectedError(summarize_defect(error)) from error
        place = f" ({error.filename})" if error.filename else ""
        error_type = DiskFull if is_disk_full(error) else LandingError
        raise error_type(f"working files cannot be written or read: {error.strerror or error}{place}") from error
    except Exception as error:
        raise UnexpectedError(summarize_defect(error)) from error


def _is_of_network(error: OSError) -> bool:
    """Whether an OSError names no file, and is a builtin error of connections or the OSError of a library for them."""
    is_builtin = type(error).__module__ == OSError.__module__
    return not error.filename and (isinstance(error, ConnectionError | TimeoutError) or not is_builtin)


def is_disk_full(error: OSError) -> bool:
    """Whether a disk or a quota is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def summarize_defect(error: BaseException) -> str:
    """Return one line with the type of an error and the innermost place in our code."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_project_code(Path(frame.filename))]
    place = f" at {Path(frames[-1].filename).relative_to(_ROOT)}:{frames[-1].lineno}" if frames else ""
    return f"unexpected {type(error).__name__}{place}; please report it"


def _is_project_code(path: Path) -> bool:
    return path.is_relative_to(_ROOT) and "site-packages" not in path.parts


_ROOT = Path(__file__).parent.parent
