"""Incidents and messages of the watchdog, with simulated checks, clock and mail."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from core.clock import utc_now
from core.prefect_names import WORK_POOL, WORK_POOLS
from core.settings import Settings
from notifications import health_checks
from notifications.delivery import Address
from notifications.health_checks import (
    FreeSpace,
    HealthUnknown,
    ProcessState,
    last_publication_time,
    memory,
    worker_problem,
)
from notifications.incidents import IncidentStore
from notifications.lost_runs import SILENCE, LostRuns
from notifications.stream_incidents import StreamChecks
from notifications.watchdog import HealthChecks, Watchdog, _is_healthy, main
from services.local_services import WORKERS
from tests.conftest import ROOT

T = TypeVar("T")
RUN = "a8a3dffd-0bf0-4b1f-9d1c-0a1c5b3c6a11"
GB = 1024**3
START = datetime(2026, 11, 22, 4, tzinfo=UTC)
WELL, LOW = FreeSpace(50 * GB, 100 * GB), FreeSpace(GB // 2, 100 * GB)


@dataclass
class SimulatedMachine:
    """A simulated machine."""

    folder: Path
    problems: dict[str, str] = field(default_factory=dict)
    disk: FreeSpace = WELL
    memory: FreeSpace = WELL
    processes: list[ProcessState] = field(default_factory=list)
    published: datetime | None = START
    worker: str | None = None
    unknown: bool = False
    mail_down: bool = False
    now: datetime = START
    sent: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    erased_before: datetime | None = None
    stream: StreamChecks | None = None

    def __post_init__(self) -> None:
        settings = Settings(_env_file=None, data_dir=self.folder)  # type: ignore[call-arg]
        store = IncidentStore(self.folder, [Address("address 1", "aaa", "mailto://x")], self._send, lambda: self.now)
        checks = HealthChecks(
            database=lambda: self.problems.get("database"),
            serving=lambda: self.problems.get("serving"),
            disk=lambda: self.disk,
            memory=lambda: self.memory,
            processes=lambda: self.processes,
            published=lambda: self._or_unknown(self.published),
            prefect=lambda: self.problems.get("prefect"),
            worker=lambda: self._or_unknown(self.worker),
            lost_runs=LostRuns(self, lambda: self.now, run_ids=lambda: []),  # type: ignore[arg-type]
            delete_erase_runs=self._delete_erase_runs,
            stream=self.stream,
        )
        self.watchdog = Watchdog(settings, store, checks, lambda: self.now)

    def ask(self, _: str, path: str, content: object = None) -> Any:
        """Answer like a Prefect server with one pending run."""
        self.paths.append(path)
        state = {"id": "1", "type": "PENDING", "timestamp": START.isoformat()}
        run = {"id": RUN, "name": "ingest", "work_pool_name": WORK_POOL, "state": state}
        answers = {"flow_runs/filter": [run], "events/filter": {"events": []}}
        return answers.get(path, {"status": "ACCEPT"} if "set_state" in path else [])

    @property
    def marked(self) -> bool:
        """Whether the run was marked as crashed."""
        return f"flow_runs/{RUN}/set_state" in self.paths

    def _delete_erase_runs(self, ended_before: datetime) -> int:
        self.erased_before = ended_before
        return 0

    def _send(self, _: Address, subject: str, body: str) -> bool:
        assert all(f"{part}:" in body for part in ("What", "Since", "Kept"))
        if not self.mail_down:
            self.sent.append(subject.removeprefix("[MoovitaMix] "))
        return not self.mail_down

    def _or_unknown(self, value: T) -> T:
        if self.unknown:
            raise HealthUnknown
        return value

    def open(self) -> list[str]:
        return [str(entry["key"]) for entry in self.watchdog.store.state().open]

    def check(self, times: int = 1) -> list[str]:
        """Run checks, and return the subjects sent."""
        before = len(self.sent)
        for _ in range(times):
            self.now += timedelta(seconds=15)
            self.watchdog.check()
        return self.sent[before:]


@pytest.fixture
def machine(tmp_path: Path) -> SimulatedMachine:
    return SimulatedMachine(tmp_path)


def test_healthy_installation_sends_nothing(machine: SimulatedMachine) -> None:
    assert machine.check(5) == []


@pytest.mark.parametrize(
    ("part", "subject"),
    [
        ("database", "the database does not answer"),
        ("serving", "the serving API does not answer"),
        ("prefect", "Prefect's server does not answer"),
    ],
)
def test_second_failed_check_notifies(machine: SimulatedMachine, part: str, subject: str) -> None:
    machine.problems = {part: "no connection"}
    assert machine.check() == []
    assert machine.check() == [subject]
    assert machine.check(4) == []
    machine.problems = {}
    assert machine.check(3) == [f"Over: {subject}"]


def test_one_failed_check_sends_nothing(machine: SimulatedMachine) -> None:
    machine.problems = {"serving": "ReadTimeout"}
    machine.check()
    machine.problems = {}
    assert machine.check(2) == []


def test_full_disk_notifies_at_once_and_closes_above_the_limit(machine: SimulatedMachine) -> None:
    machine.disk = LOW
    assert machine.check() == ["the disk of DATA_DIR is full or almost full"]
    machine.disk = FreeSpace(int(5.1 * GB), 100 * GB)  # just above the limit
    assert machine.check(3) == []
    machine.disk = WELL
    assert machine.check() == ["Over: the disk of DATA_DIR is full or almost full"]


def test_failures_caused_by_a_full_disk_send_one_message(machine: SimulatedMachine) -> None:
    machine.disk, machine.problems = LOW, {"database": "no connection", "serving": "HTTP 500"}
    assert machine.check(3) == ["the disk of DATA_DIR is full or almost full"]
    machine.disk, machine.problems = WELL, {"serving": "HTTP 500"}
    assert machine.check(2) == ["Over: the disk of DATA_DIR is full or almost full", "the serving API does not answer"]


def test_low_memory_notifies_if_it_lasts(machine: SimulatedMachine) -> None:
    machine.memory = LOW
    assert machine.check(2) == ["memory is almost full"]
    machine.memory = WELL
    assert machine.check() == ["Over: memory is almost full"]


def test_small_disk_has_a_limit_in_bytes(machine: SimulatedMachine) -> None:
    machine.disk = FreeSpace(GB // 2, 4 * GB)
    assert machine.check() == ["the disk of DATA_DIR is full or almost full"]


def test_nothing_published_opens_an_incident_while_prefect_sends_the_mail(machine: SimulatedMachine) -> None:
    machine.published = START - timedelta(hours=27)
    assert machine.check(2) == []
    assert machine.open() == ["nothing-published"]
    machine.unknown = True  # such as a locked database
    assert machine.check(2) == []
    machine.unknown, machine.published = False, machine.now
    assert machine.check(2) == ["Over: nothing was published in time"]
    assert machine.open() == []


def test_new_installation_is_notified_after_the_same_time(machine: SimulatedMachine) -> None:
    machine.published = None
    machine.check(2)
    assert machine.open() == []
    machine.now += timedelta(hours=27)
    machine.check()
    assert machine.open() == ["nothing-published"]


def test_watchdog_sends_nothing_published_while_prefect_is_down(machine: SimulatedMachine) -> None:
    machine.problems, machine.published = {"prefect": "ConnectionError"}, START - timedelta(hours=26.993)  # 25 s left
    assert machine.check(2) == ["Prefect's server does not answer", "nothing was published in time"]
    machine.problems, machine.published = {}, machine.now
    assert machine.check(2) == ["Over: Prefect's server does not answer", "Over: nothing was published in time"]


def test_killed_process_sends_one_message(machine: SimulatedMachine) -> None:
    machine.processes = [ProcessState("worker", 10, False), ProcessState("serving", 11, False)]
    machine.check()
    machine.processes = [ProcessState("worker", 12, False), ProcessState("serving", 11, False)]
    assert machine.check(3) == ["worker stopped unexpectedly and was restarted"]


def test_process_stopped_by_a_person_sends_nothing(machine: SimulatedMachine) -> None:
    for pid, stopped in ((10, False), (0, True), (12, False)):
        machine.processes = [ProcessState("worker", pid, stopped)]
        assert machine.check() == []


def test_restart_explained_by_an_incident_sends_nothing(machine: SimulatedMachine) -> None:
    machine.processes = [ProcessState("postgres", 10, False)]
    machine.check()
    machine.problems = {"database": "no connection"}
    machine.check(2)
    machine.problems, machine.processes = {}, [ProcessState("postgres", 11, False)]
    assert machine.check(2) == ["Over: the database does not answer"]


def test_missing_worker_is_an_incident_until_one_is_online(machine: SimulatedMachine) -> None:
    machine.worker = "none of the pool moovitamix reports"
    assert machine.check(3) == []  # a worker that has just started needs time to report
    assert machine.check(3) == ["no worker is online"]
    assert machine.open() == ["worker"]
    machine.unknown = True
    assert machine.check(2) == []
    machine.unknown, machine.worker = False, None
    assert machine.check(2) == ["Over: no worker is online"]
    assert machine.open() == []


@pytest.mark.parametrize("name", WORKERS)
def test_stopped_worker_notifies_while_prefect_still_counts_it(machine: SimulatedMachine, name: str) -> None:
    machine.processes = [ProcessState(name, 10, stopped=False)]
    machine.check()
    machine.processes = [ProcessState(name, 0, stopped=True)]
    assert machine.check(4) == ["no worker is online"]
    machine.processes = [ProcessState(name, 11, stopped=False)]
    assert machine.check(2) == ["Over: no worker is online"]


def test_worker_is_not_checked_while_prefect_is_down(machine: SimulatedMachine) -> None:
    machine.problems, machine.worker = {"prefect": "ConnectionError"}, "none reports"
    assert machine.check(6) == ["Prefect's server does not answer"]


def test_unstable_process_sends_two_messages_and_one_when_it_is_stable(machine: SimulatedMachine) -> None:
    sent: list[str] = []
    for pid in range(10, 30):
        machine.processes = [ProcessState("serving", pid, stopped=False)]
        sent += machine.check()
    assert sent == ["serving stopped unexpectedly and was restarted", "serving keeps stopping"]
    assert machine.open() == ["program:serving"]
    assert machine.check(39) == []
    assert machine.check(2) == ["Over: serving keeps stopping"]
    machine.processes = [ProcessState("serving", 30, stopped=False)]
    assert machine.check() == ["serving stopped unexpectedly and was restarted"]


def test_process_that_does_not_start_is_an_incident_until_it_is_stable(machine: SimulatedMachine) -> None:
    machine.processes = [ProcessState("data-docs", 0, stopped=False, down=True)]
    assert machine.check(1) == []
    machine.processes = []  # it is starting
    machine.check()
    machine.processes = [ProcessState("data-docs", 0, stopped=False, down=True)]
    assert machine.check(50) == ["data-docs does not start"]
    machine.processes = [ProcessState("data-docs", 7, stopped=False)]
    assert machine.check(39) == []
    assert machine.check(2) == ["Over: data-docs does not start"]


def test_restarted_watchdog_restarts_the_stable_time(machine: SimulatedMachine) -> None:
    machine.processes = [ProcessState("data-docs", 0, stopped=False, down=True)]
    machine.check(2)
    machine.processes = [ProcessState("data-docs", 7, stopped=False)]
    machine.watchdog = Watchdog(
        machine.watchdog.settings, machine.watchdog.store, machine.watchdog.checks, machine.watchdog.clock
    )
    assert machine.check(39) == []
    assert machine.check(2) == ["Over: data-docs does not start"]


def test_unstable_worker_is_not_missing_too(machine: SimulatedMachine) -> None:
    for pid in range(10, 14):
        machine.processes = [ProcessState("worker", pid, stopped=False)]
        machine.check()
    machine.processes = [ProcessState("worker", 0, stopped=False, down=True)]
    assert machine.check(9) == []
    assert machine.open() == ["program:worker"]


def test_mail_names_the_log_of_the_process(machine: SimulatedMachine, tmp_path: Path) -> None:
    bodies: list[str] = []
    machine.watchdog.store._send = lambda _, __, body: not bodies.append(body)  # type: ignore[func-returns-value]
    for pid in (1, 2, 3):
        machine.processes = [ProcessState("mock-api", pid, stopped=False)]
        machine.check()
    assert [str(tmp_path / "logs/mock-api.log") in body for body in bodies] == [True, True]


def test_silent_run_is_marked_after_the_limit(machine: SimulatedMachine) -> None:
    machine.check(int(SILENCE / timedelta(seconds=15)))
    assert not machine.marked
    machine.check()
    assert machine.marked


@pytest.mark.parametrize("gap", ["server", "watch", "clock"])
def test_silence_during_a_gap_marks_no_run(machine: SimulatedMachine, gap: str) -> None:
    machine.check(5)
    if gap == "server":
        machine.problems = {"prefect": "ConnectTimeout"}
        machine.check()
        machine.problems = {}
    else:
        machine.now += timedelta(hours=2 if gap == "watch" else -2)
    machine.check(int(SILENCE / timedelta(seconds=15)))
    assert not machine.marked
    machine.check()
    assert machine.marked


def test_erase_runs_are_deleted_after_their_retention(machine: SimulatedMachine) -> None:
    machine.problems = {"prefect": "ConnectTimeout"}
    machine.check()
    assert machine.erased_before is None
    machine.problems = {}
    machine.check()
    assert machine.erased_before == machine.now - timedelta(minutes=10)


def test_unreachable_parts_have_unknown_health() -> None:
    with pytest.raises(HealthUnknown):
        last_publication_time("postgresql://user:s3cret@127.0.0.1:9/x", START)
    with pytest.raises(HealthUnknown):
        worker_problem("http://127.0.0.1:9/api", "")


def test_check_in_the_future_is_not_healthy(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path)  # type: ignore[call-arg]
    looked = tmp_path / "alerts" / "looked"
    looked.parent.mkdir()
    looked.touch()
    now = utc_now().timestamp()
    os.utime(looked, (now, now))
    assert _is_healthy(settings)
    ahead = (utc_now() + timedelta(days=190)).timestamp()
    os.utime(looked, (ahead, ahead))
    assert not _is_healthy(settings)


def test_first_check_in_the_future_is_ignored(machine: SimulatedMachine) -> None:
    real_now, machine.now = machine.now, machine.now + timedelta(days=190)
    machine.published = None
    machine.check()
    machine.now = real_now
    machine.check()
    machine.now = real_now + timedelta(hours=28)
    machine.check()
    assert machine.open() == ["nothing-published"]


def test_hanging_supervisor_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_checks, "SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "s"))
        silent.listen()
        monkeypatch.setenv("SUPERVISOR_SERVER_URL", f"unix://{tmp_path / 's'}")
        assert health_checks.process_states() is None


def test_watched_pools_are_the_pools_of_the_deployments() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert {deployment["work_pool"]["name"] for deployment in deployments} == set(WORK_POOLS)


def test_failed_delivery_is_an_incident_and_loses_nothing(machine: SimulatedMachine) -> None:
    machine.mail_down, machine.disk = True, LOW
    machine.check(3)
    assert [entry["key"] for entry in machine.watchdog.store.state().open] == ["disk", "alerts-undelivered"]
    machine.mail_down = False
    machine.now += timedelta(minutes=6)
    assert machine.check(2) == [
        "the disk of DATA_DIR is full or almost full",
        "Over: notifications cannot be delivered",
    ]
    assert [entry["key"] for entry in machine.watchdog.store.state().open] == ["disk"]


def test_memory_of_a_container_is_its_limit(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 500000\ninactive_file 300000\n")
    assert memory(tmp_path) == FreeSpace(400_000, 1_000_000)
    (tmp_path / "memory.max").write_text("max\n")
    assert memory(tmp_path).total > 1_000_000


def test_once_notifies_at_once_without_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("PREFECT_API_URL", "SUPERVISOR_SERVER_URL", "ALERT_URLS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", "")
    for name in ("ALERT_DISK_FREE_SHARE", "ALERT_DISK_FREE_MB", "ALERT_MEMORY_FREE_SHARE"):
        monkeypatch.setenv(name, "0")  # whatever space this machine has
    open_incidents = tmp_path / "alerts/open.json"

    assert main(["--healthy"]) == 1
    assert main(["--once"]) == 0
    assert main(["--healthy"]) == 0
    assert "ALERT_URLS is empty" in capfd.readouterr().out
    assert json.loads(open_incidents.read_text()) == []  # an embedded database may be stopped without `make up`

    monkeypatch.setenv("DATABASE_URL", "postgresql://user:s3cret@127.0.0.1:9/x")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert main(["--once", "--serving", "http://127.0.0.1:9"]) == 0
    assert {incident["key"] for incident in json.loads(open_incidents.read_text())} == {
        "database",
        "prefect-server",
        "serving",
    }
    assert "s3cret" not in open_incidents.read_text()


def test_second_watchdog_of_a_folder_exits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    with IncidentStore(tmp_path, [], lambda *_: True, lambda: START).watchdog_lock():
        assert main(["--once"]) == 1


def test_wrong_settings_are_one_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ALERT_LOOK_SECONDS", "0")
    assert main(["--once"]) == 2
    assert capfd.readouterr().err.count("\n") == 1
