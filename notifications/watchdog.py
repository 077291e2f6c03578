"""Checks the health of this installation, delivers notifications that Prefect could not send, and closes incidents.

`python -m notifications.watchdog` runs until it is stopped. With --once it checks and delivers once, for cron. It needs
no Prefect server and no database. Exit 0: stopped, or one check done; 1: another watchdog runs on this DATA_DIR; 2: the
settings are wrong.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import requests

from core.addresses import bracket_ipv6
from core.clock import CLOCK_SKEW, Clock, is_ahead, utc_now
from core.errors import SettingsError
from core.settings import Settings, load_settings
from core.temporary_files import keep_temporary_files_in
from core.terminal import prepare_terminal
from core.tracebacks import without_tracebacks
from notifications import health_checks, incident_types
from notifications.defects import clear_defect, record_defect
from notifications.delivery import addresses, send
from notifications.erase_runs import KEPT_FOR, delete_erase_runs
from notifications.failed_notifications import FailedNotifications, resend_failed_notifications
from notifications.health_checks import FreeSpace, HealthUnknown, ProcessState
from notifications.incidents import DATABASE, DISK, FOLDER, PREFECT, SERVING, UNDELIVERABLE, IncidentStore
from notifications.lost_runs import SILENCE, SILENCE_OF_THIS_MACHINE, LostRuns, sees_every_process
from notifications.notification import Notification
from notifications.prefect_client import PrefectClient
from notifications.process_restarts import RestartTracker

# A look that fails once may be a restart; twice, at the usual pace, is within half a minute.
_LOOKS_BEFORE_TOLD = 2
# Free room must pass the limit by so much before an alert is over, or it would begin and end all day.
_BEYOND = 1.1
_LOOKED = "looked"
_NOTE_AWAITED = "publication_awaited_since"
_NOTE_RUNS, _NOTE_LOOKED = "runs_seen", "runs_looked_at"

Probe = Callable[[], str | None]


@dataclass
class HealthChecks:
    """What is looked at. Each says why it fails; None is well. `published` and `worker` may raise HealthUnknown."""

    database: Probe
    serving: Probe
    disk: Callable[[], FreeSpace]
    memory: Callable[[], FreeSpace]
    programs: Callable[[], list[ProcessState] | None]
    published: Callable[[], datetime | None]
    prefect: Probe | None = None
    worker: Probe | None = None
    missed: FailedNotifications | None = None
    lost_runs: LostRuns | None = None
    delete_erase_runs: Callable[[datetime], int] | None = None


@dataclass
class Watchdog:
    """One watch, from look to look."""

    settings: Settings
    store: IncidentStore
    probes: HealthChecks
    clock: Clock
    looks_before_told: int = _LOOKS_BEFORE_TOLD
    failing: dict[str, tuple[int, datetime]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.programs = RestartTracker(self.settings, self.store, self.clock, self.looks_before_told)

    def look(self) -> None:
        """Look at everything once, and deliver what there is to be told."""
        # First, so that a part that was restarted meanwhile is told as such.
        programs, wrong = self.probes.programs(), self._open_keys()
        again = self.programs.look(programs or [])
        # Before what falls with it.
        self._judge_room(DISK, self.probes.disk, self._disk_limit, incident_types.disk)
        database_fails = self._judge(DATABASE, self.probes.database(), incident_types.database)
        self._judge(SERVING, self.probes.serving(), incident_types.serving)
        prefect_fails = self._judge_prefect()
        self._judge_room(incident_types.MEMORY, self.probes.memory, self._memory_limit, incident_types.memory)
        if not database_fails:
            self._judge_published()
        self._judge_worker(programs or [], prefect_fails)
        if programs is not None:
            self.programs.judge(again, wrong | self._open_keys())
        self._mark_lost_runs(prefect_fails)
        if not prefect_fails and self.probes.delete_erase_runs is not None:
            with suppress(requests.RequestException):
                self.probes.delete_erase_runs(self.clock() - KEPT_FOR)
        if not prefect_fails and self.probes.missed is not None and self.store.addresses:
            resend_failed_notifications(self.store, self.probes.missed)
        self.store.deliver()
        self._judge_delivery()
        with suppress(OSError):
            looked, now = self.settings.data_dir / FOLDER / _LOOKED, utc_now().timestamp()
            looked.touch()
            os.utime(looked, (now, now))  # by our clock: a disk over the network has another one

    def _judge(
        self, key: str, why: str | None, alert: Callable[[datetime, str], Notification], looks_before_told: int = 0
    ) -> bool:
        now = self.clock()
        if why is None:
            self.failing.pop(key, None)
            self.store.over(key)
            return False
        looks, since = self.failing.get(key, (0, now))
        since = min(since, now)
        self.failing[key] = (looks + 1, since)
        if looks + 1 >= (looks_before_told or self.looks_before_told):
            self.store.begin(alert(since, why))
        return True

    def _judge_prefect(self) -> bool:
        """Whether Prefect's server cannot be asked, or there is none."""
        return self.probes.prefect is None or self._judge(PREFECT, self.probes.prefect(), incident_types.prefect)

    def _judge_room(
        self,
        key: str,
        probe: Callable[[], FreeSpace],
        limit: Callable[[FreeSpace], float],
        alert: Callable[[datetime, FreeSpace, Settings], Notification],
    ) -> None:
        try:
            room = probe()
        except OSError:
            return
        least = limit(room)
        if room.free < least:
            looks, since = self.failing.get(key, (0, self.clock()))
            self.failing[key] = (looks + 1, since)
            if key == DISK or looks + 1 >= self.looks_before_told:
                self.store.begin(alert(since, room, self.settings))
        elif room.free > least * _BEYOND or key not in self.failing:
            self.failing.pop(key, None)
            self.store.over(key)

    def _disk_limit(self, room: FreeSpace) -> float:
        return incident_types.least_on_disk(room, self.settings)

    def _memory_limit(self, room: FreeSpace) -> float:
        return self.settings.alert_memory_free_share * room.total

    def _judge_published(self) -> None:
        """Noted as open in any case; the mail is of Prefect's own automation while its server is there."""
        try:
            newest = self.probes.published() or self._awaited_since()
        except HealthUnknown:
            return
        hours = self.settings.alert_published_within_hours
        if self.clock() - newest > timedelta(hours=hours):
            mine = self.probes.prefect is None or PREFECT in self._open_keys()
            self.store.begin(incident_types.unpublished(newest, hours), told_elsewhere=not mine)
        else:
            self.store.over(incident_types.UNPUBLISHED)

    def _awaited_since(self) -> datetime:
        """The first look at an installation that has published nothing yet; never after now."""
        now, noted = self.clock(), self.store.state().notes.get(_NOTE_AWAITED)
        if noted is not None and not is_ahead(datetime.fromisoformat(noted), now):
            return datetime.fromisoformat(noted)
        with self.store.changing() as state:
            state.notes[_NOTE_AWAITED] = now.isoformat()
        return now

    def _judge_worker(self, programs: Sequence[ProcessState], prefect_fails: bool) -> None:
        if incident_types.key_of_program(incident_types.PROGRAM_OF[incident_types.WORKER]) in self._open_keys():
            return  # told already, as a program that keeps ending
        mine = next((one for one in programs if one.name == incident_types.PROGRAM_OF[incident_types.WORKER]), None)
        if mine is not None and (mine.stopped or mine.down):
            self._judge(
                incident_types.WORKER, "it was stopped" if mine.stopped else "it does not start", incident_types.worker
            )
        elif self.probes.worker is not None and not prefect_fails:
            with suppress(HealthUnknown):
                # A worker that has just been started reports after a while.
                self._judge(
                    incident_types.WORKER, self.probes.worker(), incident_types.worker, 3 * self.looks_before_told - 2
                )

    def _mark_lost_runs(self, prefect_fails: bool) -> None:
        """Only what was looked at without a gap counts as silence: not while the server or this machine was away."""
        if self.probes.lost_runs is None:
            return
        notes, now = self.store.state().notes, self.clock()
        seen = notes.get(_NOTE_RUNS, {})
        looked = datetime.fromisoformat(notes.get(_NOTE_LOOKED, now.isoformat()))
        if not timedelta(0) <= now - looked <= timedelta(seconds=3 * self.settings.alert_look_seconds + 30):
            seen = {}
        try:
            after, marked = ({}, []) if prefect_fails else self.probes.lost_runs.look(seen)
        except (requests.RequestException, KeyError):
            after, marked = {}, []
        if marked:
            print(f"marked as crashed, as their processes are gone: {', '.join(marked)}", flush=True)
        if after or seen:
            with self.store.changing() as state:
                state.notes |= {_NOTE_RUNS: after, _NOTE_LOOKED: now.isoformat()}

    def _judge_delivery(self) -> None:
        state = self.store.state()
        troubles = {one.name: state.troubles[one.id] for one in self.store.addresses if one.id in state.troubles}
        if not troubles:
            self.store.over(UNDELIVERABLE)
            return
        since = min(datetime.fromisoformat(one.since) for one in troubles.values())
        self.store.begin(incident_types.undeliverable(since, " and ".join(troubles), self.settings))

    def _open_keys(self) -> set[str]:
        return {str(entry["key"]) for entry in self.store.state().open}


def installation_health_checks(settings: Settings, serving: str) -> HealthChecks:
    """The parts of this installation, as the settings and `PREFECT_API_URL` name them.

    An embedded database and a serving API that nobody keeps running may rest: they are looked at below `make up`.
    """
    api_url, login = os.environ.get("PREFECT_API_URL", "").rstrip("/"), os.environ.get("PREFECT_API_AUTH_STRING", "")
    kept_running = health_checks.programs() is not None
    if kept_running and not serving:
        serving = f"http://{_to_ask(settings.serving_host)}:{settings.serving_port}"
    database = kept_running or not settings.embedded
    server = PrefectClient(api_url, login, tries=0)
    return HealthChecks(
        database=lambda: (
            health_checks.database_fails(health_checks.address_of_database(settings)) if database else None
        ),
        serving=lambda: health_checks.page_fails(f"{serving.rstrip('/')}/health/live") if serving else None,
        disk=lambda: health_checks.disk(settings.data_dir),
        memory=health_checks.memory,
        programs=health_checks.programs,
        published=lambda: health_checks.newest_publication(health_checks.address_of_database(settings), utc_now()),
        prefect=(lambda: health_checks.page_fails(f"{api_url}/health")) if api_url else None,
        worker=(lambda: health_checks.worker_missing(api_url, login)) if api_url else None,
        missed=FailedNotifications(settings, api_url, login) if api_url else None,
        lost_runs=_lost_runs(server) if api_url else None,
        delete_erase_runs=(lambda before: delete_erase_runs(server, ended_before=before)) if api_url else None,
    )


def _lost_runs(server: PrefectClient) -> LostRuns:
    return LostRuns(server, silence=SILENCE_OF_THIS_MACHINE if sees_every_process() else SILENCE)


def _to_ask(host: str) -> str:
    """The host of a URL: where serving listens is not always where it is asked."""
    return "127.0.0.1" if host in ("0.0.0.0", "::") else bracket_ipv6(host)  # noqa: S104, asked for, not listened at


def make_watchdog(settings: Settings, serving: str = "", *, looks_before_told: int = _LOOKS_BEFORE_TOLD) -> Watchdog:
    """The watch of these settings; `serving` is where its API is, when `make up` does not run it here."""
    store = IncidentStore(settings.data_dir, addresses(settings), send, utc_now)
    return Watchdog(settings, store, installation_health_checks(settings, serving), utc_now, looks_before_told)


def _is_healthy(settings: Settings) -> bool:
    """Whether a watch has looked lately: its looks may take a while when nothing answers."""
    try:
        looked = (settings.data_dir / FOLDER / _LOOKED).stat().st_mtime
    except OSError:
        return False
    age = utc_now() - datetime.fromtimestamp(looked, UTC)
    # A look after now was by a clock that was ahead, and none has come since.
    return -CLOCK_SKEW <= age < timedelta(seconds=3 * settings.alert_look_seconds + 60)


def _until_stopped(watch: Watchdog) -> None:
    stopped = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stopped.set())
    failed = False
    while not stopped.is_set():
        try:
            watch.look()
        except Exception as error:  # the watchdog must go on, whatever is broken
            print(f"a health check failed: {type(error).__name__}", file=sys.stderr, flush=True)
            record_defect(error)
            failed = True
        else:
            if failed:
                clear_defect()
            failed = False
        stopped.wait(watch.settings.alert_look_seconds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Watch, or look once."""
    prepare_terminal()
    parser = argparse.ArgumentParser(prog="python -m notifications.watchdog", description=__doc__)
    parser.add_argument("--once", action="store_true", help="look and deliver once, then end")
    parser.add_argument("--healthy", action="store_true", help="say by the exit code whether a watch looked lately")
    parser.add_argument("--serving", metavar="URL", default="", help="where the serving API is, without make up")
    asked = parser.parse_args(arguments)
    try:
        settings = load_settings()
        keep_temporary_files_in(settings.data_dir)
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if asked.healthy:
        return 0 if _is_healthy(settings) else 1
    watch = make_watchdog(settings, asked.serving, looks_before_told=1 if asked.once else _LOOKS_BEFORE_TOLD)
    if not watch.store.addresses:
        where = settings.data_dir / FOLDER / "open.json"
        print(f"ALERT_URLS is empty: nobody is told; what is wrong is in {where}", flush=True)
    with watch.store.watching() as mine:
        if not mine:
            print("error: another watch runs on this DATA_DIR", file=sys.stderr)
            return 1
        if asked.once:
            watch.look()
        else:
            _until_stopped(watch)
    return 0


if __name__ == "__main__":
    sys.exit(without_tracebacks(main))
