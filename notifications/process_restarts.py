"""Programs of `make up` that end without being asked to: once is one mail, again and again is one open alert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from core.clock import Clock
from core.settings import Settings
from notifications import incident_types
from notifications.health_checks import ProcessState
from notifications.incidents import IncidentStore
from notifications.notification import PREFIX, RUNBOOK, at, in_lines

# As long as a program must run, or have been stopped by hand, before its alert is over.
_QUIET = timedelta(minutes=10)


@dataclass
class RestartTracker:
    """What is known of them from look to look."""

    settings: Settings
    store: IncidentStore
    clock: Clock
    looks_before_told: int
    pids: dict[str, int] = field(default_factory=dict)
    down: dict[str, int] = field(default_factory=dict)
    ended: dict[str, list[datetime]] = field(default_factory=dict)
    last_trouble: dict[str, datetime] = field(default_factory=dict)

    def look(self, programs: Sequence[ProcessState]) -> list[str]:
        """Those that ended since the last look, and run again."""
        now = self.clock()
        running = {one.name: one.pid for one in programs if not (one.stopped or one.down)}
        again = [name for name, pid in running.items() if self.pids.get(name, pid) != pid]
        # What was stopped by hand begins anew: that is no accident.
        stopped = {one.name for one in programs if one.stopped}
        self.pids = {name: pid for name, pid in (self.pids | running).items() if name not in stopped}
        self.down = {one.name: self.down.get(one.name, 0) + 1 for one in programs if one.down} | {
            name: looks for name, looks in self.down.items() if name not in {one.name for one in programs}
        }
        for name in again:
            recent = [moment for moment in self.ended.get(name, []) if now - moment < _QUIET]
            self.ended[name] = [*recent, now]
        # Of an alert of before this watch began, nobody knows when it was quiet.
        begun = self._open() - self.last_trouble.keys()
        self.last_trouble |= dict.fromkeys((*again, *self.down, *begun), now)
        return again

    def judge(self, again: Sequence[str], wrong: set[str]) -> None:
        """Tell of those that have no open alert of their own, by the keys of `wrong`: their end is told with that."""
        told = {incident_types.PROGRAM_OF[key] for key in wrong if key in incident_types.PROGRAM_OF}
        for name, looks in self.down.items():
            if looks >= self.looks_before_told and name not in {*told, *incident_types.PROGRAM_OF.values()}:
                self._begin(name, "does not start")
        for name in again:
            if len(self.ended[name]) > 1 and name not in told:
                self._begin(name, "keeps ending")
        self._tell_of_once([name for name in again if name not in {*told, *self._open()}])
        for name in self._open():
            if self.clock() - self.last_trouble[name] >= _QUIET:
                self.store.over(incident_types.key_of_program(name))

    def _begin(self, name: str, how: str) -> None:
        since = next(iter(self.ended.get(name, [])), self.clock())
        self.store.begin(incident_types.program(since, name, how, self.settings))

    def _tell_of_once(self, names: Sequence[str]) -> None:
        if not names:
            return
        which = " and ".join(names) if len(names) < 3 else f"{len(names)} programs"
        body = in_lines(
            What=f"ended unexpectedly and was started again: {', '.join(names)}",
            Since=at(self.clock()),
            Kept="what was published. A run whose process ended with it is marked as crashed and told by itself, "
            "within two minutes; other runs go on.",
            Next=f"make status; {incident_types.log_of(self.settings, names[0])}; "
            f"{RUNBOOK}#a-program-was-started-again",
        )
        self.store.tell(f"{PREFIX} {which} ended unexpectedly and runs again", body)

    def _open(self) -> set[str]:
        keys = {str(entry["key"]) for entry in self.store.state().open}
        return {key.removeprefix(incident_types.PROGRAM) for key in keys if key.startswith(incident_types.PROGRAM)}
