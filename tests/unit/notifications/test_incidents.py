"""Incidents are notified once, and messages are delivered in spite of failures."""

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
class MailServers:
    """Mail servers that can be down, and a clock."""

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


def disk(unaffected: str = "everything.") -> Notification:
    return Notification("disk", "critical", "the disk is full", START, unaffected, "free some", "1 MB are free")


@pytest.fixture
def mail() -> MailServers:
    return MailServers()


def test_incident_sends_one_opening_and_one_closing_message(mail: MailServers, tmp_path: Path) -> None:
    store = mail.store(tmp_path)
    for _ in range(3):
        store.open_incident(disk())
        store.deliver()
    for _ in range(2):
        store.close_incident("disk")
        store.deliver()
    assert [subject for _, subject in mail.sent] == ["the disk is full", "Over: the disk is full"]


def test_open_json_lists_open_incidents(mail: MailServers, tmp_path: Path) -> None:
    store = mail.store(tmp_path)
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
    closed = {name: entry[name] for name in ("key", "what", "since", "severity")}
    assert json.loads((tmp_path / "alerts/closed.json").read_text()) == [
        closed | {"closed_at": "2026-11-22T04:00:00+00:00"}
    ]


def test_incident_caused_by_a_full_disk_is_merged_into_it(mail: MailServers, tmp_path: Path) -> None:
    store = mail.store(tmp_path)
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


def test_closing_message_names_stopped_runs(mail: MailServers, tmp_path: Path) -> None:
    store = mail.store(tmp_path)
    store.open_incident(disk())
    store.deliver()
    mail.store(tmp_path).open_incident(disk(), note="ingest-2026-11-22 could not continue: run it again.")
    store.close_incident("disk")
    store.deliver()
    assert len(mail.sent) == 2
    assert "ingest-2026-11-22 could not continue: run it again." in mail.bodies[1]


def test_failing_address_is_retried_later_without_losing_messages(mail: MailServers, tmp_path: Path) -> None:
    store = mail.store(tmp_path)
    mail.down = {MAIL.id}
    store.open_incident(disk())
    for subject in ("first", "second"):
        store.queue_message(subject, "body")
        store.deliver()
    assert store.state().delivery_failures[MAIL.id].tries == 1  # the next try is some seconds later

    mail.now += timedelta(seconds=20)
    mail.store(tmp_path).deliver()  # another process
    mail.down = set()
    mail.now += timedelta(minutes=6)
    store.deliver()
    assert [subject for _, subject in mail.sent] == ["the disk is full", "first", "second"]
    assert store.state().delivery_failures == {}


def test_retry_time_of_a_clock_that_was_ahead_is_ignored(mail: MailServers, tmp_path: Path) -> None:
    store = mail.store(tmp_path)
    mail.down, mail.now = {MAIL.id}, START + timedelta(days=190)
    store.open_incident(disk())
    store.deliver()
    mail.down, mail.now = set(), START
    store.deliver()
    assert [subject for _, subject in mail.sent] == ["the disk is full"]


def test_each_address_gets_each_message_once(mail: MailServers, tmp_path: Path) -> None:
    store = mail.store(tmp_path, MAIL, CHAT)
    mail.down = {MAIL.id}
    store.queue_message("news", "body")
    store.deliver()
    store.deliver()
    assert mail.sent == [(CHAT.id, "news")]
    mail.down = set()
    mail.now += timedelta(minutes=6)
    store.deliver()
    assert mail.sent == [(CHAT.id, "news"), (MAIL.id, "news")]


def test_queued_message_goes_to_a_replaced_address(mail: MailServers, tmp_path: Path) -> None:
    mail.down = {MAIL.id}
    wrong = mail.store(tmp_path)
    wrong.queue_message("news", "body")
    wrong.deliver()
    mail.store(tmp_path, CHAT).deliver()
    assert mail.sent == [(CHAT.id, "news")]


def test_equal_queued_messages_are_merged(mail: MailServers, tmp_path: Path) -> None:
    store = mail.store(tmp_path)
    for body in ("same", "same", "other"):
        store.queue_message("news", body)
    store.deliver()
    assert mail.bodies == ["same", "other"]


def test_process_without_addresses_leaves_delivery_to_another(mail: MailServers, tmp_path: Path) -> None:
    IncidentStore(tmp_path, (), mail.send, mail.clock).open_incident(disk())
    mail.store(tmp_path, MAIL, CHAT).deliver()
    assert sorted(mail.sent) == [(MAIL.id, "the disk is full"), (CHAT.id, "the disk is full")]


def test_incident_closed_before_delivery_sends_one_message(mail: MailServers, tmp_path: Path) -> None:
    store = mail.store(tmp_path)
    store.open_incident(disk())
    store.close_incident("disk")
    store.deliver()
    assert [subject for _, subject in mail.sent] == ["Over: the disk is full"]


def test_full_disk_keeps_incidents_in_memory(
    mail: MailServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = mail.store(tmp_path)
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
    assert [s for _, s in mail.sent][-2:] == ["the disk is full", "Over: the disk is full"]
    assert json.loads((tmp_path / "alerts/open.json").read_text()) == []


def test_damaged_files_do_not_stop_notifications(mail: MailServers, tmp_path: Path) -> None:
    (tmp_path / "alerts").mkdir()
    for name in ("open.json", "outbox.json"):
        (tmp_path / "alerts" / name).write_text('{"half": ')
    store = mail.store(tmp_path)
    store.open_incident(disk())
    store.deliver()
    assert len(mail.sent) == 1


def test_only_one_process_is_the_watchdog(mail: MailServers, tmp_path: Path) -> None:
    first, second = mail.store(tmp_path), mail.store(tmp_path)
    assert not second.is_watchdog_running()
    with first.watchdog_lock() as acquired:
        assert acquired
        assert second.is_watchdog_running()
        with second.watchdog_lock() as acquired_again:
            assert not acquired_again
    assert not second.is_watchdog_running()


def test_repr_of_an_address_hides_its_secret() -> None:
    assert "secret" not in repr(MAIL)


def test_stopped_run_is_notified_even_if_its_incident_is_closed(mail: MailServers, tmp_path: Path) -> None:
    store = mail.store(tmp_path)
    store.open_incident(disk(), note="ingest-2026-11-22 could not continue: run it again.")
    store.close_incident("disk")
    store.deliver()
    assert [subject for _, subject in mail.sent] == ["the disk is full", "Over: the disk is full"]
    assert "run it again." in mail.bodies[0]
    assert "Next:   free some" in mail.bodies[0]


def test_undelivered_opening_message_names_stopped_run(mail: MailServers, tmp_path: Path) -> None:
    store = mail.store(tmp_path)
    store.open_incident(disk())
    store.open_incident(disk(), note="ingest-2026-11-22 could not continue: run it again.")
    store.close_incident("disk")
    store.deliver()
    assert "ingest-2026-11-22 could not continue" in mail.bodies[0]
    assert len(mail.bodies) == 2


def test_full_disk_uses_reserved_space_for_open_incidents(
    mail: MailServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, write = mail.store(tmp_path), module.write_atomically
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
        mail.store(tmp_path).open_incident(disk())  # another run each
    assert store.is_written
    assert [entry["key"] for entry in json.loads((tmp_path / "alerts/open.json").read_text())] == ["disk"]


def test_incident_of_prefect_opens_without_a_message(mail: MailServers, tmp_path: Path) -> None:
    store = mail.store(tmp_path)
    store.open_incident(disk(), sent_by_prefect=True)
    store.deliver()
    assert mail.sent == []
    assert [entry["key"] for entry in store.state().open] == ["disk"]
    store.close_incident("disk")
    store.deliver()
    assert [subject for _, subject in mail.sent] == ["Over: the disk is full"]
