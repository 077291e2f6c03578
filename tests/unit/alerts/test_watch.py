"""What the watch makes of what it sees; probes, clock and mail are given."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alerts.delivery import Address
from alerts.probes import Program, Room, memory
from alerts.store import Store
from alerts.watch import Probes, Watch, main
from core.settings import Settings

GB = 1024**3
START = datetime(2026, 11, 22, 4, tzinfo=UTC)
WELL, LOW = Room(50 * GB, 100 * GB), Room(GB // 2, 100 * GB)


@dataclass
class World:
    """A machine on which things go wrong when a test says so."""

    folder: Path
    wrong: dict[str, str] = field(default_factory=dict)
    disk: Room = WELL
    memory: Room = WELL
    programs: list[Program] = field(default_factory=list)
    published: datetime | None = START
    mail_down: bool = False
    now: datetime = START
    sent: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings = Settings(_env_file=None, data_dir=self.folder)  # type: ignore[call-arg]
        store = Store(self.folder, [Address("address 1", "aaa", "mailto://x")], self._send, lambda: self.now)
        probes = Probes(
            database=lambda: self.wrong.get("database"),
            serving=lambda: self.wrong.get("serving"),
            disk=lambda: self.disk,
            memory=lambda: self.memory,
            programs=lambda: self.programs,
            published=lambda: self.published,
            prefect=lambda: self.wrong.get("prefect"),
        )
        self.watch = Watch(settings, store, probes, lambda: self.now)

    def _send(self, _: Address, subject: str, body: str) -> bool:
        assert all(f"{part}:" in body for part in ("What", "Since", "Kept"))
        if not self.mail_down:
            self.sent.append(subject.removeprefix("[MoovitaMix] "))
        return not self.mail_down

    def look(self, times: int = 1) -> list[str]:
        """Subjects sent by the looks."""
        before = len(self.sent)
        for _ in range(times):
            self.now += timedelta(seconds=15)
            self.watch.look()
        return self.sent[before:]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_all_is_well(world: World) -> None:
    assert world.look(5) == []


@pytest.mark.parametrize(
    ("part", "subject"),
    [
        ("database", "the database does not answer"),
        ("serving", "the serving API does not answer"),
        ("prefect", "Prefect's server does not answer"),
    ],
)
def test_a_part_that_does_not_answer_is_told_at_the_second_look(world: World, part: str, subject: str) -> None:
    world.wrong = {part: "no connection"}
    assert world.look() == []
    assert world.look() == [subject]
    assert world.look(4) == []
    world.wrong = {}
    assert world.look(3) == [f"Over: {subject}"]


def test_a_part_that_missed_one_look_is_no_alert(world: World) -> None:
    world.wrong = {"serving": "ReadTimeout"}
    world.look()
    world.wrong = {}
    assert world.look(2) == []


def test_a_full_disk_is_told_at_once_and_over_when_there_is_room_to_spare(world: World) -> None:
    world.disk = LOW
    assert world.look() == ["the disk of DATA_DIR is full or nearly so"]
    world.disk = Room(int(5.1 * GB), 100 * GB)  # just above the limit: it may be below again in a minute
    assert world.look(3) == []
    world.disk = WELL
    assert world.look() == ["Over: the disk of DATA_DIR is full or nearly so"]


def test_what_falls_with_a_full_disk_is_told_with_it(world: World) -> None:
    world.disk, world.wrong = LOW, {"database": "no connection", "serving": "HTTP 500"}
    assert world.look(3) == ["the disk of DATA_DIR is full or nearly so"]
    world.disk, world.wrong = WELL, {"serving": "HTTP 500"}
    assert world.look(2) == ["Over: the disk of DATA_DIR is full or nearly so", "the serving API does not answer"]


def test_little_memory_is_told_when_it_stays_so(world: World) -> None:
    world.memory = LOW
    assert world.look(2) == ["memory is nearly used up"]
    world.memory = WELL
    assert world.look() == ["Over: memory is nearly used up"]


def test_a_small_disk_has_a_limit_in_bytes(world: World) -> None:
    world.disk = Room(GB // 2, 4 * GB)
    assert world.look() == ["the disk of DATA_DIR is full or nearly so"]


def test_nothing_published_is_told_from_here_only_when_prefect_cannot(world: World) -> None:
    world.published = START - timedelta(hours=26.999)
    assert world.look(2) == []
    world.wrong = {"prefect": "ConnectionError"}
    assert world.look(2) == ["Prefect's server does not answer", "nothing was published by the set hour"]
    world.wrong, world.published = {}, world.now
    assert world.look(2) == ["Over: Prefect's server does not answer", "Over: nothing was published by the set hour"]


def test_a_program_that_was_killed_is_told_once(world: World) -> None:
    world.programs = [Program("worker", 10, False), Program("serving", 11, False)]
    world.look()
    world.programs = [Program("worker", 12, False), Program("serving", 11, False)]
    assert world.look(3) == ["worker ended unexpectedly and runs again"]


def test_a_program_that_somebody_stopped_is_no_accident(world: World) -> None:
    for pid, stopped in ((10, False), (0, True), (12, False)):
        world.programs = [Program("worker", pid, stopped)]
        assert world.look() == []


def test_a_part_that_was_away_and_restarted_is_one_cause(world: World) -> None:
    world.programs = [Program("postgres", 10, False)]
    world.look()
    world.wrong = {"database": "no connection"}
    world.look(2)
    world.wrong, world.programs = {}, [Program("postgres", 11, False)]
    assert world.look(2) == ["Over: the database does not answer"]


def test_mail_that_cannot_be_delivered_is_an_open_alert_and_nothing_is_lost(world: World) -> None:
    world.mail_down, world.disk = True, LOW
    world.look(3)
    assert [entry["key"] for entry in world.watch.store.state().open] == ["disk", "alerts-undelivered"]
    world.mail_down = False
    world.now += timedelta(minutes=6)
    assert world.look(2) == ["the disk of DATA_DIR is full or nearly so", "Over: alerts cannot be delivered"]
    assert [entry["key"] for entry in world.watch.store.state().open] == ["disk"]


def test_memory_of_a_container_is_what_it_may_use(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 500000\ninactive_file 300000\n")
    assert memory(tmp_path) == Room(400_000, 1_000_000)
    (tmp_path / "memory.max").write_text("max\n")
    assert memory(tmp_path).total > 1_000_000


def test_one_look_from_cron_tells_at_once_and_needs_nothing_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("PREFECT_API_URL", "SUPERVISOR_SERVER_URL", "ALERT_URLS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", "")
    for name in ("ALERT_DISK_FREE_SHARE", "ALERT_DISK_FREE_MB", "ALERT_MEMORY_FREE_SHARE"):
        monkeypatch.setenv(name, "0")  # whatever the machine of this test has left
    open_alerts = tmp_path / "alerts/open.json"

    assert main(["--healthy"]) == 1
    assert main(["--once"]) == 0
    assert main(["--healthy"]) == 0
    assert "ALERT_URLS is empty" in capfd.readouterr().out
    assert json.loads(open_alerts.read_text()) == []  # an embedded database that nobody keeps running may rest

    monkeypatch.setenv("DATABASE_URL", "postgresql://user:s3cret@127.0.0.1:9/x")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert main(["--once", "--serving", "http://127.0.0.1:9"]) == 0
    assert {one["key"] for one in json.loads(open_alerts.read_text())} == {"database", "prefect-server", "serving"}
    assert "s3cret" not in open_alerts.read_text()


def test_a_second_watch_of_the_same_folder_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    with Store(tmp_path, [], lambda *_: True, lambda: START).watching():
        assert main(["--once"]) == 1


def test_wrong_settings_are_one_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ALERT_LOOK_SECONDS", "0")
    assert main(["--once"]) == 2
    assert capfd.readouterr().err.count("\n") == 1
