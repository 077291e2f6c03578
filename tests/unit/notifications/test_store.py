"""What is open and what waits: told once, delivered in the end, whatever fails in between."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from notifications import files as module
from notifications.delivery import Address
from notifications.incidents import IncidentStore
from notifications.notification import Notification

START = datetime(2026, 11, 22, 4, tzinfo=UTC)
MAIL, CHAT = Address("address 1", "aaa", "mailto://secret@one"), Address("address 2", "bbb", "slack://secret/two")


@dataclass
class Post:
    """Mail servers that may be down, and a clock."""

    now: datetime = START
    down: set[str] = field(default_factory=set)
    sent: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)

    def send(self, address: Address, subject: str, body: str) -> bool:
        if address.id in self.down:
            return False
        self.sent.append((address.id, subject.removeprefix("[MoovitaMix] ")))
        self.bodies.append(body)
        return True

    def clock(self) -> datetime:
        return self.now

    def store(self, folder: Path, *addresses: Address) -> IncidentStore:
        return IncidentStore(folder, addresses or (MAIL,), self.send, self.clock)


def disk(kept: str = "everything.") -> Notification:
    return Notification("disk", "critical", "the disk is full", START, kept, "free some", "1 MB are free")


@pytest.fixture
def post() -> Post:
    return Post()


def test_a_cause_is_told_once_and_its_end_once(post: Post, tmp_path: Path) -> None:
    store = post.store(tmp_path)
    for _ in range(3):
        store.open_incident(disk())
        store.deliver()
    for _ in range(2):
        store.close_incident("disk")
        store.deliver()
    assert [subject for _, subject in post.sent] == ["the disk is full", "Over: the disk is full"]


def test_pages_read_what_is_open(post: Post, tmp_path: Path) -> None:
    store = post.store(tmp_path)
    store.open_incident(disk(), note="ingest-2026-11-22 could not continue.")
    file = tmp_path / "alerts/open.json"
    entry = {
        "key": "disk",
        "what": "the disk is full: 1 MB are free",
        "since": "2026-11-22T04:00:00+00:00",
        "kept": "everything. ingest-2026-11-22 could not continue.",
        "next": "free some",
        "severity": "critical",
        "delivered_at": None,
    }
    assert json.loads(file.read_text()) == [entry]
    store.deliver()
    assert json.loads(file.read_text()) == [entry | {"delivered_at": "2026-11-22T04:00:00+00:00"}]
    store.close_incident("disk")
    assert json.loads(file.read_text()) == []


def test_what_falls_with_a_full_disk_is_noted_with_it_alone(post: Post, tmp_path: Path) -> None:
    store = post.store(tmp_path)
    database = Notification(
        "database", "critical", "the database does not answer", START, "what was published.", "make status"
    )
    store.open_incident(database)
    assert store.state().open[0]["kept"] == "what was published."
    store.close_incident("database")
    store.open_incident(disk())
    store.open_incident(database)
    assert [(entry["key"], entry["kept"]) for entry in store.state().open] == [
        ("disk", "everything. Since then the database does not answer.")
    ]


def test_what_else_a_cause_did_is_told_at_its_end(post: Post, tmp_path: Path) -> None:
    store = post.store(tmp_path)
    store.open_incident(disk())
    store.deliver()
    post.store(tmp_path).open_incident(disk(), note="ingest-2026-11-22 could not continue: run it again.")
    store.close_incident("disk")
    store.deliver()
    assert len(post.sent) == 2
    assert "ingest-2026-11-22 could not continue: run it again." in post.bodies[1]


def test_a_mail_server_that_is_down_loses_nothing_and_is_not_pestered(post: Post, tmp_path: Path) -> None:
    store = post.store(tmp_path)
    post.down = {MAIL.id}
    store.open_incident(disk())
    for subject in ("first", "second"):
        store.queue_message(subject, "body")
        store.deliver()
    assert store.state().delivery_failures[MAIL.id].tries == 1  # left in peace for some seconds

    post.now += timedelta(seconds=20)
    post.store(tmp_path).deliver()  # also another process, after a restart
    post.down = set()
    post.now += timedelta(minutes=6)
    store.deliver()
    assert [subject for _, subject in post.sent] == ["the disk is full", "first", "second"]
    assert store.state().delivery_failures == {}


def test_an_address_is_not_left_in_peace_for_months_after_a_clock_was_ahead(post: Post, tmp_path: Path) -> None:
    store = post.store(tmp_path)
    post.down, post.now = {MAIL.id}, START + timedelta(days=190)
    store.open_incident(disk())
    store.deliver()
    post.down, post.now = set(), START
    store.deliver()
    assert [subject for _, subject in post.sent] == ["the disk is full"]


def test_each_address_takes_its_own(post: Post, tmp_path: Path) -> None:
    store = post.store(tmp_path, MAIL, CHAT)
    post.down = {MAIL.id}
    store.queue_message("news", "body")
    store.deliver()
    store.deliver()
    assert post.sent == [(CHAT.id, "news")]
    post.down = set()
    post.now += timedelta(minutes=6)
    store.deliver()
    assert post.sent == [(CHAT.id, "news"), (MAIL.id, "news")]


def test_what_waits_for_a_wrong_address_goes_to_the_right_one(post: Post, tmp_path: Path) -> None:
    post.down = {MAIL.id}
    wrong = post.store(tmp_path)
    wrong.queue_message("news", "body")
    wrong.deliver()
    post.store(tmp_path, CHAT).deliver()
    assert post.sent == [(CHAT.id, "news")]


def test_what_is_said_twice_while_it_waits_is_one_mail(post: Post, tmp_path: Path) -> None:
    store = post.store(tmp_path)
    for body in ("same", "same", "other"):
        store.queue_message("news", body)
    store.deliver()
    assert post.bodies == ["same", "other"]


def test_who_knows_no_address_leaves_it_to_who_does(post: Post, tmp_path: Path) -> None:
    IncidentStore(tmp_path, (), post.send, post.clock).open_incident(disk())
    post.store(tmp_path, MAIL, CHAT).deliver()
    assert sorted(post.sent) == [(MAIL.id, "the disk is full"), (CHAT.id, "the disk is full")]


def test_what_was_over_before_anybody_heard_of_it_is_one_mail(post: Post, tmp_path: Path) -> None:
    store = post.store(tmp_path)
    store.open_incident(disk())
    store.close_incident("disk")
    store.deliver()
    assert [subject for _, subject in post.sent] == ["Over: the disk is full"]


def test_a_full_disk_is_told_from_memory(post: Post, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = post.store(tmp_path)
    store.open_incident(disk())
    store.close_incident("disk")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_atomically", full)
    store.open_incident(disk())
    store.open_incident(disk())
    assert [entry["key"] for entry in store.state().open] == ["disk"]
    store.deliver()
    monkeypatch.undo()
    store.close_incident("disk")
    store.deliver()
    assert [s for _, s in post.sent][-2:] == ["the disk is full", "Over: the disk is full"]
    assert json.loads((tmp_path / "alerts/open.json").read_text()) == []


def test_a_damaged_file_does_not_silence_the_watch(post: Post, tmp_path: Path) -> None:
    (tmp_path / "alerts").mkdir()
    for name in ("open.json", "outbox.json"):
        (tmp_path / "alerts" / name).write_text('{"half": ')
    store = post.store(tmp_path)
    store.open_incident(disk())
    store.deliver()
    assert len(post.sent) == 1


def test_one_process_watches_at_a_time(post: Post, tmp_path: Path) -> None:
    first, second = post.store(tmp_path), post.store(tmp_path)
    assert not second.is_watchdog_running()
    with first.watchdog_lock() as mine:
        assert mine
        assert second.is_watchdog_running()
        with second.watchdog_lock() as also:
            assert not also
    assert not second.is_watchdog_running()


def test_an_address_is_never_shown() -> None:
    assert "secret" not in repr(MAIL)


def test_a_run_that_was_stopped_is_told_with_what_to_do_even_when_the_cause_is_gone(post: Post, tmp_path: Path) -> None:
    store = post.store(tmp_path)
    store.open_incident(disk(), note="ingest-2026-11-22 could not continue: run it again.")
    store.close_incident("disk")
    store.deliver()
    assert [subject for _, subject in post.sent] == ["the disk is full", "Over: the disk is full"]
    assert "run it again." in post.bodies[0]
    assert "Next:   free some" in post.bodies[0]


def test_a_run_that_is_stopped_before_the_mail_went_is_named_in_it(post: Post, tmp_path: Path) -> None:
    store = post.store(tmp_path)
    store.open_incident(disk())
    store.open_incident(disk(), note="ingest-2026-11-22 could not continue: run it again.")
    store.close_incident("disk")
    store.deliver()
    assert "ingest-2026-11-22 could not continue" in post.bodies[0]
    assert len(post.bodies) == 2


def test_what_is_open_on_a_full_disk_is_written_where_room_was_kept(
    post: Post, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, write = post.store(tmp_path), module.write_atomically
    store.open_incident(disk())
    store.close_incident("disk")
    reserve = tmp_path / "alerts/reserve"
    assert reserve.stat().st_size > 10_000

    def full(path: Path, content: str, *, mode: int) -> None:
        if reserve.exists():
            raise OSError(28, "No space left on device")
        write(path, content, mode=mode)

    monkeypatch.setattr(module, "write_atomically", full)
    for _ in range(2):
        post.store(tmp_path).open_incident(disk())  # another run each
    assert store.is_written
    assert [entry["key"] for entry in json.loads((tmp_path / "alerts/open.json").read_text())] == ["disk"]


def test_what_prefect_tells_is_open_without_a_mail(post: Post, tmp_path: Path) -> None:
    store = post.store(tmp_path)
    store.open_incident(disk(), sent_by_prefect=True)
    store.deliver()
    assert post.sent == []
    assert [entry["key"] for entry in store.state().open] == ["disk"]
    store.close_incident("disk")
    store.deliver()
    assert [subject for _, subject in post.sent] == ["Over: the disk is full"]
