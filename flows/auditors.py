"""The auditor of a run: in another process if the run is a command, otherwise in this one.

Great Expectations takes seconds to import. A command starts the other process before it imports Prefect. A flow that a
worker or a test calls imports it in a thread of this process.
"""

from __future__ import annotations

import atexit
import sys
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from threading import Lock, Thread
from typing import TYPE_CHECKING, Protocol

from expectations.auditor_process import AuditorOptions, AuditorProcess, import_auditor

if TYPE_CHECKING:  # the process starts before these imports, which take half a second
    from core.audits import AuditTarget, ExpectationResult
    from core.clock import Clock

_lock = Lock()
_thread: Thread | None = None
_process: AuditorProcess | None = None


class BatchAuditor(Protocol):
    """Audits batches, one after another."""

    def audit(self, staged: AuditTarget) -> list[ExpectationResult]:
        """Audit one staged batch. See `expectations.checkpoint.Auditor`."""


def start_auditor_process() -> None:
    """Start the process that audits, unless the command only shows its help. Without memory for it, start none."""
    global _process
    if {"-h", "--help"} & set(sys.argv):
        return
    with suppress(OSError):
        _process = AuditorProcess()
        atexit.register(_process.stop)


def start_auditor_import() -> None:
    """Import Great Expectations in another thread, unless a process audits. Later calls do nothing."""
    global _thread
    with _lock:
        if _thread is None and _process is None:
            _thread = Thread(target=import_auditor, name="auditor-import", daemon=True)
            _thread.start()


def open_auditor(options: AuditorOptions, clock: Clock, at_end: ExitStack) -> BatchAuditor:
    """Return the auditor of a run, and close it `at_end`. Does not wait until it is ready."""
    if _process is not None:
        _process.open(options)
        return at_end.enter_context(_process)
    start_auditor_import()
    return _AuditorInThisProcess(options, clock, at_end)


@dataclass
class _AuditorInThisProcess:
    """Opens the auditor at the first audit, and closes it `at_end`."""

    options: AuditorOptions
    clock: Clock
    at_end: ExitStack
    _auditor: BatchAuditor | None = None

    def audit(self, staged: AuditTarget) -> list[ExpectationResult]:
        if self._auditor is None:
            self._auditor = self._open()
        return self._auditor.audit(staged)

    def _open(self) -> BatchAuditor:
        if _thread is not None:
            _thread.join()  # if it failed, the import raises its error
        return self.at_end.enter_context(self.options.open_auditor(self.clock))


def cpu_seconds_of_process() -> float:
    """The CPU seconds that audits used in the other process."""
    return _process.cpu_seconds if _process is not None else 0.0
