"""Checks the health of this installation, delivers notifications that Prefect could not send, and closes incidents.

`python -m notifications.watchdog` runs until it is stopped. With --once it checks and delivers once, for cron. It needs
no Prefect server and no database. Exit code 0: stopped, or one check done; 1: another watchdog runs on this DATA_DIR;
2: wrong settings.
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

from core.addresses import reachable_host
from core.clock import CLOCK_SKEW, Clock, clock_of, is_ahead, utc_now
from core.data_layout import DataLayout
from core.errors import AlreadyRunning
from core.exit_codes import returns_exit_code, run_main
from core.prefect_client import PrefectClient
from core.settings import Settings, load_settings
from core.temporary_files import keep_temporary_files_in
from core.terminal import prepare_terminal
from notifications import health_checks, incident_types
from notifications.defects import clear_defect, record_defect
from notifications.delivery import addresses, send
from notifications.erase_runs import RETENTION, delete_erase_runs
from notifications.failed_notifications import FailedNotifications, resend_failed_notifications
from notifications.health_checks import FreeSpace, HealthUnknown, ProcessState
from notifications.incidents import DATABASE, DISK, PREFECT, SERVING, UNDELIVERABLE, IncidentStore
from notifications.lost_runs import SILENCE, SILENCE_OF_THIS_MACHINE, LostRuns, sees_every_process
from notifications.notification import Notification
from notifications.process_restarts import RestartTracker
from notifications.stream_incidents import StreamChecks, StreamIncidents, stream_checks

# One failed check may be a restart. At the default pace, two take less than half a minute.
_CHECKS_BEFORE_NOTIFYING = 2
# Free space must exceed the limit by this factor to close an incident, or it would open and close all day.
_CLOSING_FACTOR = 1.1
_NOTE_AWAITED = "publication_awaited_since"
_NOTE_RUNS, _NOTE_LOOKED = "runs_seen", "runs_looked_at"

Check = Callable[[], str | None]


@dataclass
class HealthChecks:
    """The checks of one installation. A `Check` returns why the part fails, or None.

    `published` and `worker` may raise HealthUnknown.
    """

    database: Check
    serving: Check
    disk: Callable[[], FreeSpace]
    memory: Callable[[], FreeSpace]
    processes: Callable[[], list[ProcessState] | None]
    published: Callable[[], datetime | None]
    prefect: Check | None = None
    worker: Check | None = None
    failed_notifications: FailedNotifications | None = None
    lost_runs: LostRuns | None = None
    delete_erase_runs: Callable[[datetime], int] | None = None
    stream: StreamChecks | None = None


@dataclass
class Watchdog:
    """Runs the checks, opens and closes incidents, and delivers messages.

    `failing` holds, by key of incident, how many checks in a row failed, and since when.
    """

    settings: Settings
    store: IncidentStore
    checks: HealthChecks
    clock: Clock
    checks_before_notifying: int = _CHECKS_BEFORE_NOTIFYING
    failing: dict[str, tuple[int, datetime]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.restarts = RestartTracker(self.settings, self.store, self.clock, self.checks_before_notifying)
        self.stream = StreamIncidents(
            self.settings, self.store, self.checks.stream, self.clock, self.checks_before_notifying, self._update
        )

    def check(self) -> None:
        """Check every part once, and deliver all messages."""
        # Incidents of before and after the checks may explain a restart.
        processes, open_before = self.checks.processes(), self._open_keys()
        restarted = self.restarts.find_restarted(processes or [])
        # First the disk: a full disk causes other incidents.
        self._update_space(DISK, self.checks.disk, self._disk_limit, incident_types.disk)
        database_fails = self._update(DATABASE, self.checks.database(), incident_types.database)
        self._update(SERVING, self.checks.serving(), incident_types.serving)
        prefect_fails = self._update_prefect()
        self._update_space(incident_types.MEMORY, self.checks.memory, self._memory_limit, incident_types.memory)
        if not database_fails:
            self._update_published()
        self._update_worker(processes or [], prefect_fails)
        self.stream.check(processes or [], database_fails=database_fails)
        if processes is not None:
            self.restarts.update_incidents(restarted, open_before | self._open_keys())
        self._mark_lost_runs(prefect_fails)
        if not prefect_fails and self.checks.delete_erase_runs is not None:
            with suppress(requests.RequestException):
                self.checks.delete_erase_runs(self.clock() - RETENTION)
        if not prefect_fails and self.checks.failed_notifications is not None and self.store.addresses:
            resend_failed_notifications(self.store, self.checks.failed_notifications)
        self.store.deliver()
        self._update_delivery()
        with suppress(OSError):
            check_file, now = DataLayout(self.settings.data_dir).watchdog_check, utc_now().timestamp()
            check_file.touch()
            os.utime(check_file, (now, now))  # by our clock: a network disk has its own

    def _update(
        self,
        key: str,
        problem: str | None,
        notification: Callable[[datetime, str], Notification],
        checks_before_notifying: int = 0,
    ) -> bool:
        """Open or close the incident of a part. Return whether the part fails."""
        now = self.clock()
        if problem is None:
            self.failing.pop(key, None)
            self.store.close_incident(key)
            return False
        failed_checks, since = self.failing.get(key, (0, now))
        since = min(since, now)
        self.failing[key] = (failed_checks + 1, since)
        if failed_checks + 1 >= (checks_before_notifying or self.checks_before_notifying):
            self.store.open_incident(notification(since, problem))
        return True

    def _update_prefect(self) -> bool:
        """Return whether Prefect's server fails or there is none."""
        return self.checks.prefect is None or self._update(PREFECT, self.checks.prefect(), incident_types.prefect)

    def _update_space(
        self,
        key: str,
        measure: Callable[[], FreeSpace],
        limit: Callable[[FreeSpace], float],
        notification: Callable[[datetime, FreeSpace, Settings], Notification],
    ) -> None:
        try:
            space = measure()
        except OSError:
            return
        min_free = limit(space)
        if space.free < min_free:
            failed_checks, since = self.failing.get(key, (0, self.clock()))
            self.failing[key] = (failed_checks + 1, since)
            if key == DISK or failed_checks + 1 >= self.checks_before_notifying:
                self.store.open_incident(notification(since, space, self.settings))
        elif space.free > min_free * _CLOSING_FACTOR or key not in self.failing:
            self.failing.pop(key, None)
            self.store.close_incident(key)

    def _disk_limit(self, space: FreeSpace) -> float:
        return incident_types.disk_limit(space, self.settings)

    def _memory_limit(self, space: FreeSpace) -> float:
        return self.settings.alert_memory_free_share * space.total

    def _update_published(self) -> None:
        """Open the incident in any case. Prefect's automation sends the message while its server answers."""
        try:
            newest = self.checks.published() or self._awaited_since()
        except HealthUnknown:
            return
        hours = self.settings.alert_published_within_hours
        if self.clock() - newest > timedelta(hours=hours):
            prefect_sends = self.checks.prefect is not None and PREFECT not in self._open_keys()
            self.store.open_incident(incident_types.unpublished(newest, hours), sent_by_prefect=prefect_sends)
        else:
            self.store.close_incident(incident_types.UNPUBLISHED)

    def _awaited_since(self) -> datetime:
        """Return the time of the first check of an installation that has published nothing yet; never after now."""
        now, noted = self.clock(), self.store.state().notes.get(_NOTE_AWAITED)
        if noted is not None and not is_ahead(datetime.fromisoformat(noted), now):
            return datetime.fromisoformat(noted)
        with self.store.locked_state() as state:
            state.notes[_NOTE_AWAITED] = now.isoformat()
        return now

    def _update_worker(self, processes: Sequence[ProcessState], prefect_fails: bool) -> None:
        names = incident_types.PROCESSES_OF[incident_types.WORKER]
        if {incident_types.process_incident_key(name) for name in names} & self._open_keys():
            return  # the incident of the process covers it
        ended = [process for process in processes if process.name in names and (process.stopped or process.down)]
        if ended:
            problem = f"{ended[0].name} {'was stopped' if ended[0].stopped else 'does not start'}"
            self._update(incident_types.WORKER, problem, incident_types.worker)
        elif self.checks.worker is not None and not prefect_fails:
            with suppress(HealthUnknown):
                # A worker that has just started needs some time to report.
                checks = 3 * self.checks_before_notifying - 2
                self._update(incident_types.WORKER, self.checks.worker(), incident_types.worker, checks)

    def _mark_lost_runs(self, prefect_fails: bool) -> None:
        """Mark lost runs. Silence counts only without gaps: the server and this machine must have run all the time."""
        if self.checks.lost_runs is None:
            return
        notes, now = self.store.state().notes, self.clock()
        previous = notes.get(_NOTE_RUNS, {})
        last_check = datetime.fromisoformat(notes.get(_NOTE_LOOKED, now.isoformat()))
        if not timedelta(0) <= now - last_check <= timedelta(seconds=3 * self.settings.alert_look_seconds + 30):
            previous = {}
        try:
            current, marked = ({}, []) if prefect_fails else self.checks.lost_runs.mark(previous)
        except (requests.RequestException, KeyError):
            current, marked = {}, []
        if marked:
            print(f"marked as crashed, because their processes are gone: {', '.join(marked)}", flush=True)
        if current or previous:
            with self.store.locked_state() as state:
                state.notes |= {_NOTE_RUNS: current, _NOTE_LOOKED: now.isoformat()}

    def _update_delivery(self) -> None:
        all_failures = self.store.state().delivery_failures
        failures = {
            address.name: all_failures[address.id] for address in self.store.addresses if address.id in all_failures
        }
        if not failures:
            self.store.close_incident(UNDELIVERABLE)
            return
        since = min(datetime.fromisoformat(failure.since) for failure in failures.values())
        self.store.open_incident(incident_types.undeliverable(since, " and ".join(failures), self.settings))

    def _open_keys(self) -> set[str]:
        return {str(incident["key"]) for incident in self.store.state().open}


def installation_health_checks(settings: Settings, serving: str) -> HealthChecks:
    """Return the checks of this installation, as the settings and `PREFECT_API_URL` define it.

    Without `make up`, the embedded database and the serving API may be stopped, so they are not checked.
    """
    api_url, login = os.environ.get("PREFECT_API_URL", "").rstrip("/"), os.environ.get("PREFECT_API_AUTH_STRING", "")
    is_supervised = health_checks.process_states() is not None
    if is_supervised and not serving:
        serving = f"http://{reachable_host(settings.serving_host)}:{settings.serving_port}"
    check_database = is_supervised or not settings.embedded
    server = PrefectClient(api_url, login, tries=0)
    return HealthChecks(
        database=lambda: (
            health_checks.database_problem(health_checks.database_address(settings)) if check_database else None
        ),
        serving=lambda: health_checks.page_problem(f"{serving.rstrip('/')}/health/live") if serving else None,
        disk=lambda: health_checks.disk(settings.data_dir),
        memory=health_checks.memory,
        processes=health_checks.process_states,
        published=lambda: health_checks.last_publication_time(health_checks.database_address(settings), utc_now()),
        prefect=(lambda: health_checks.page_problem(f"{api_url}/health")) if api_url else None,
        worker=(lambda: health_checks.worker_problem(api_url, login)) if api_url else None,
        failed_notifications=FailedNotifications(settings, api_url, login) if api_url else None,
        lost_runs=_lost_runs(server) if api_url else None,
        stream=stream_checks(settings, lambda: health_checks.database_address(settings), clock_of(settings)),
        delete_erase_runs=(lambda before: delete_erase_runs(server, ended_before=before)) if api_url else None,
    )


def _lost_runs(server: PrefectClient) -> LostRuns:
    return LostRuns(server, silence=SILENCE_OF_THIS_MACHINE if sees_every_process() else SILENCE)


def make_watchdog(
    settings: Settings, serving: str = "", *, checks_before_notifying: int = _CHECKS_BEFORE_NOTIFYING
) -> Watchdog:
    """Return the watchdog of these settings. `serving` is the URL of the serving API if `make up` does not run it."""
    store = IncidentStore(settings.data_dir, addresses(settings), send, utc_now)
    return Watchdog(settings, store, installation_health_checks(settings, serving), utc_now, checks_before_notifying)


def _is_healthy(settings: Settings) -> bool:
    """Whether a watchdog completed a check lately. A check takes longer when parts do not answer."""
    try:
        checked_at = DataLayout(settings.data_dir).watchdog_check.stat().st_mtime
    except OSError:
        return False
    age = utc_now() - datetime.fromtimestamp(checked_at, UTC)
    # A check in the future means that the clock was ahead, and that no check followed.
    return -CLOCK_SKEW <= age < timedelta(seconds=3 * settings.alert_look_seconds + 60)


def _run_until_stopped(watchdog: Watchdog) -> None:
    stopped = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stopped.set())
    failed = False
    while not stopped.is_set():
        try:
            watchdog.check()
        except Exception as error:  # no defect may stop the watchdog
            print(f"a health check failed: {type(error).__name__}", file=sys.stderr, flush=True)
            record_defect(error)
            failed = True
        else:
            if failed:
                clear_defect()
            failed = False
        stopped.wait(watchdog.settings.alert_look_seconds)


@returns_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the watchdog, or check once."""
    prepare_terminal()
    parser = argparse.ArgumentParser(prog="python -m notifications.watchdog", description=__doc__)
    parser.add_argument("--once", action="store_true", help="check and notify once, then exit")
    parser.add_argument("--healthy", action="store_true", help="exit with 0 if a watchdog checked lately, else with 1")
    parser.add_argument(
        "--serving", metavar="URL", default="", help="URL of the serving API, where `make up` does not run it"
    )
    options = parser.parse_args(arguments)
    settings = load_settings()
    keep_temporary_files_in(settings.data_dir)
    if options.healthy:
        return 0 if _is_healthy(settings) else 1
    checks = 1 if options.once else _CHECKS_BEFORE_NOTIFYING
    watchdog = make_watchdog(settings, options.serving, checks_before_notifying=checks)
    if not watchdog.store.addresses:
        path = DataLayout(settings.data_dir).open_incidents
        print(f"ALERT_URLS is empty: nobody is notified; open incidents are in {path}", flush=True)
    with watchdog.store.watchdog_lock() as acquired:
        if not acquired:
            raise AlreadyRunning("another watchdog runs on this DATA_DIR; stop it first")
        if options.once:
            watchdog.check()
        else:
            _run_until_stopped(watchdog)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
