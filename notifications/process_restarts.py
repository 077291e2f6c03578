"""Tracks processes of `make up` that stop unexpectedly.

A single restart is one message. Repeated restarts are an incident, which closes when the process has run for ten
minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from core.clock import Clock
from core.runbook import RUNBOOK
from core.settings import Settings
from notifications import incident_types
from notifications.health_checks import ProcessState
from notifications.incidents import IncidentStore
from notifications.notification import PREFIX, format_lines, format_time

# A process must run, or stay stopped by a person, for this long before its incident closes.
_STABLE = timedelta(minutes=10)


@dataclass
class RestartTracker:
    """Compares the processes of each check with those of the check before.

    By name of process: `pids`; `down_checks`, the number of checks in a row that found it down; `stop_times`, the
    unexpected stops of the last ten minutes; `last_problem`, the last check that found a problem.
    """

    settings: Settings
    store: IncidentStore
    clock: Clock
    checks_before_notifying: int
    pids: dict[str, int] = field(default_factory=dict)
    down_checks: dict[str, int] = field(default_factory=dict)
    stop_times: dict[str, list[datetime]] = field(default_factory=dict)
    last_problem: dict[str, datetime] = field(default_factory=dict)

    def find_restarted(self, processes: Sequence[ProcessState]) -> list[str]:
        """Return the names of processes that stopped since the last check and run again."""
        now = self.clock()
        running = {process.name: process.pid for process in processes if not (process.stopped or process.down)}
        restarted = [name for name, pid in running.items() if self.pids.get(name, pid) != pid]
        # A process that a person stopped counts as new when it runs again.
        stopped = {process.name for process in processes if process.stopped}
        self.pids = {name: pid for name, pid in (self.pids | running).items() if name not in stopped}
        # A process that the check does not list is starting: its count stays.
        listed = {process.name for process in processes}
        self.down_checks = {name: checks for name, checks in self.down_checks.items() if name not in listed} | {
            process.name: self.down_checks.get(process.name, 0) + 1 for process in processes if process.down
        }
        for name in restarted:
            recent = [moment for moment in self.stop_times.get(name, []) if now - moment < _STABLE]
            self.stop_times[name] = [*recent, now]
        # An earlier watchdog opened these incidents: their time starts now.
        inherited = self._incidents() - self.last_problem.keys()
        self.last_problem |= dict.fromkeys((*restarted, *self.down_checks, *inherited), now)
        return restarted

    def update_incidents(self, restarted: Sequence[str], open_keys: set[str]) -> None:
        """Notify about restarts, and open and close incidents. An incident of `open_keys` may explain a restart."""
        explained = {name for key in open_keys for name in incident_types.PROCESSES_OF.get(key, ())}
        with_own_check = {name for names in incident_types.PROCESSES_OF.values() for name in names}
        for name, checks in self.down_checks.items():
            if checks >= self.checks_before_notifying and name not in {*explained, *with_own_check}:
                self._open_incident(name, "does not start")
        for name in restarted:
            if len(self.stop_times[name]) > 1 and name not in explained:
                self._open_incident(name, "keeps stopping")
        self._notify_restart([name for name in restarted if name not in {*explained, *self._incidents()}])
        for name in self._incidents():
            if self.clock() - self.last_problem[name] >= _STABLE:
                self.store.close_incident(incident_types.process_incident_key(name))

    def _open_incident(self, name: str, problem: str) -> None:
        since = next(iter(self.stop_times.get(name, [])), self.clock())
        self.store.open_incident(incident_types.unstable_process(since, name, problem, self.settings))

    def _notify_restart(self, names: Sequence[str]) -> None:
        if not names:
            return
        processes = " and ".join(names) if len(names) < 3 else f"{len(names)} processes"
        body = format_lines(
            What=f"stopped unexpectedly and was restarted: {', '.join(names)}",
            Since=format_time(self.clock()),
            Kept="what was published. A run that stopped with it is marked as crashed within two minutes, with its own "
            "notification; other runs continue.",
            Next=f"make status; {incident_types.process_log(self.settings, names[0])}; "
            f"{RUNBOOK}#a-process-was-restarted",
        )
        self.store.queue_message(f"{PREFIX} {processes} stopped unexpectedly and was restarted", body)

    def _incidents(self) -> set[str]:
        """Return the names of the processes with an open incident."""
        keys = {str(entry["key"]) for entry in self.store.state().open}
        return {
            key.removeprefix(incident_types.PROCESS_PREFIX)
            for key in keys
            if key.startswith(incident_types.PROCESS_PREFIX)
        }
