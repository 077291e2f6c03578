"""Audits in another process: it imports Great Expectations while the run imports Prefect and extracts.

`python -m expectations.auditor_process FILE_DESCRIPTOR` is that process. It receives the options of the auditor, then
answers one `AuditTarget` after another. It ends when the connection closes, so with the run, also if that is killed.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection, Pipe
from typing import TYPE_CHECKING, Self

from core.errors import MoovitamixError, named_errors

if TYPE_CHECKING:  # a command imports this module first, and these take half a second
    from core.audits import AuditTarget, ExpectationResult
    from core.clock import Clock
    from core.settings import Settings
    from expectations.checkpoint import Auditor
    from expectations.thresholds import Thresholds

_STDERR = 2
# Great Expectations imports these if they are installed, for data sources that no suite here uses.
_CLOUD_CLIENTS = ("boto3", "botocore", "google")


class AuditorProcessEnded(MoovitamixError):
    """The process that audits ended before it answered."""


@dataclass(frozen=True)
class AuditorOptions:
    """The options of an auditor. `url` is that of the database, in the role of the run."""

    url: str
    settings: Settings
    thresholds: Thresholds
    max_failing_keys: int = 1_000

    def open_auditor(self, clock: Clock) -> Auditor:
        """Open an auditor in this process. Imports Great Expectations. Raises DatabaseError."""
        from core.stores import docs_store
        from expectations.checkpoint import Auditor

        return Auditor(
            url=self.url,
            thresholds=self.thresholds,
            docs=docs_store(self.settings),
            clock=clock,
            max_failing_keys=self.max_failing_keys,
            serving_url=self.settings.serving_public_url,
        )


@dataclass(frozen=True)
class _Answer:
    """The results of an audit, or its error. `cpu_seconds` is what the audit used, without Postgres."""

    results: list[ExpectationResult]
    cpu_seconds: float
    error: MoovitamixError | None = None


class AuditorProcess:
    """Starts the process. Raises OSError. `cpu_seconds` is what its audits used until now."""

    def __init__(self) -> None:
        self.cpu_seconds = 0.0
        self._connection, connection_of_process = Pipe()
        with connection_of_process:
            descriptor = connection_of_process.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "expectations.auditor_process", str(descriptor)],
                stdin=subprocess.DEVNULL,
                stdout=_STDERR,  # the run may print JSON
                pass_fds=[descriptor],
                start_new_session=True,  # a Ctrl-C stops the run, and the run stops this process
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def open(self, options: AuditorOptions) -> None:
        """Send the options, and do not wait. Call it once."""
        self._send(options)

    def audit(self, staged: AuditTarget) -> list[ExpectationResult]:
        """Audit one staged batch: see `expectations.checkpoint.Auditor`. Raises its errors, and AuditorProcessEnded."""
        self._send(staged)
        try:
            answer: _Answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._ended() from error
        self.cpu_seconds += answer.cpu_seconds
        if answer.error is not None:
            raise answer.error
        return answer.results

    def stop(self) -> None:
        """End the process at once; it holds nothing that is needed. Can be repeated."""
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _send(self, message: AuditorOptions | AuditTarget) -> None:
        try:
            self._connection.send(message)
        except OSError as error:
            raise self._ended() from error

    def _ended(self) -> AuditorProcessEnded:
        self.stop()
        return AuditorProcessEnded(
            f"the process that audits ended with exit code {self._process.returncode}, maybe for lack of memory; run "
            "the command again"
        )


def import_auditor() -> None:
    """Import Great Expectations, which takes seconds, without a search for garbage.

    An import creates little garbage, and searching for it takes a tenth of the time. What exists at the end is never
    searched again.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        import_module("expectations.checkpoint")
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def main() -> None:
    """Answer until the connection closes."""
    from core.tracebacks import hide_tracebacks

    hide_tracebacks()
    with _not_installed(*_CLOUD_CLIENTS):
        import_auditor()
    with Connection(int(sys.argv[1])) as connection, suppress(EOFError, ConnectionError):  # the run has ended
        _answer_targets(connection)


@contextmanager
def _not_installed(*packages: str) -> Iterator[None]:
    """Within the block, importing these packages fails as if they were not installed. Not for use beside threads."""
    hidden = {package: None for package in packages if package not in sys.modules}
    sys.modules.update(hidden)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for package in hidden:
            del sys.modules[package]


def _answer_targets(connection: Connection) -> None:
    from core.clock import clock_of
    from core.temporary_files import keep_temporary_files_in
    from core.tracebacks import record_traceback

    options: AuditorOptions = connection.recv()
    keep_temporary_files_in(options.settings.data_dir)
    auditor: Auditor | None = None
    while True:
        target: AuditTarget = connection.recv()
        cpu = time.process_time()
        try:
            with named_errors():
                auditor = auditor or options.open_auditor(clock_of(options.settings))
                answer = _Answer(auditor.audit(target), time.process_time() - cpu)
        except MoovitamixError as error:
            record_traceback(error)  # the run gets no traceback
            answer = _Answer([], time.process_time() - cpu, error)
        connection.send(answer)


if __name__ == "__main__":
    from expectations import auditor_process  # the run cannot read objects of a module `__main__`

    auditor_process.main()
