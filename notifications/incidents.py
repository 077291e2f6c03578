"""What is open, and what waits to be delivered: two small files in `DATA_DIR/alerts`, or memory when the disk is full.

`open.json` is a list of what is wrong now, for people and pages. `outbox.json` is ours: messages and the addresses that
have not taken them yet. Several processes may use the folder; one at a time changes it, and one at a time delivers.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from core.clock import Clock
from notifications.delivery import Address, Send
from notifications.files import replace_json, reserve
from notifications.notification import Notification, body_of, body_when_over, subject_when_over

FOLDER = "alerts"
UNDELIVERABLE = "alerts-undelivered"
EVERYBODY = "*"
DATABASE, PREFECT, SERVING, DISK = "database", "prefect-server", "serving", "disk"
# While the disk is full, these are no causes of their own: they are noted with it, and told if they outlast it.
_FALL_WITH_THE_DISK = (DATABASE, PREFECT, SERVING)
# Held for when the disk is full, so that what is open can still be written down.
_RESERVE = "reserve"
_SOONEST, _LATEST = timedelta(seconds=15), timedelta(minutes=1)

Entry = dict[str, Any]


@dataclass
class QueuedMessage:
    """A mail that waits. `pending` are the addresses that have not taken it; `key` is the open alert it begins.

    For all, whoever posts it may not know them: `EVERYBODY` stands for those of the process that delivers. One that
    names a run is sent even when its cause is gone by then: the run is still to be made again.
    """

    subject: str
    body: str
    pending: list[str]
    key: str = ""
    names_run: bool = False


@dataclass
class DeliveryFailure:
    """An address that takes nothing."""

    since: str
    tries: int
    next_try: str


@dataclass
class NotificationState:
    """All that is kept. `notes` is what the watch remembers from one look to the next."""

    open: list[Entry] = field(default_factory=list)
    messages: list[QueuedMessage] = field(default_factory=list)
    troubles: dict[str, DeliveryFailure] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    def find(self, key: str) -> Entry | None:
        """The open alert of that key."""
        return next((entry for entry in self.open if entry["key"] == key), None)


class IncidentStore:
    """The alerts of one DATA_DIR. Nothing here raises because a disk is full or a mail server is away."""

    def __init__(self, data_dir: Path, addresses: Sequence[Address], send: Send, clock: Clock) -> None:
        self._folder = data_dir / FOLDER
        self.addresses = list(addresses)
        self._send = send
        self._clock = clock
        self._unwritten: NotificationState | None = None

    def begin(self, alert: Notification, note: str = "", *, told_elsewhere: bool = False) -> None:
        """Note that a cause is there, and tell it once, unless somebody else does.

        `note` says which run it stopped; it is told at the end too.
        """
        names_run = bool(note)
        with self.changing() as state:
            known = state.find(alert.key)
            disk = state.find(DISK) if alert.key in _FALL_WITH_THE_DISK else None
            if known is None and disk is not None:
                known, note = disk, f"{note} Since then {alert.what}.".lstrip()
            if known is not None:
                if note not in known["kept"]:
                    known["kept"] = f"{known['kept']} {note}"
                    self._note_in_mail(state, known, names_run)
                return
            alert = replace(alert, kept=f"{alert.kept} {note}".rstrip())
            what, since = alert.told, alert.since.isoformat()
            told = {"key": alert.key, "what": what, "since": since, "kept": alert.kept, "next": alert.next}
            delivered_at = self._clock().isoformat() if told_elsewhere and self.addresses else None
            state.open.append(told | {"severity": alert.severity, "delivered_at": delivered_at})
            if not told_elsewhere:
                to = self._to(state, alert.key)
                self._post(state, QueuedMessage(alert.subject, alert.body, to, alert.key, names_run))

    def over(self, key: str) -> None:
        """Note that a cause is gone, and tell that. Nothing to do when it was not there."""
        with self.changing() as state:
            entry = state.find(key)
            if entry is None:
                return
            state.open.remove(entry)
            # Nobody has heard of it yet: one mail says that it was there, and that it is over.
            untold = [one for one in state.messages if one.key == key and self._is_untouched(one) and not one.names_run]
            state.messages = [one for one in state.messages if one not in untold]
            subject, body = subject_when_over(entry), body_when_over(entry, self._clock())
            self._post(state, QueuedMessage(subject, body, [EVERYBODY]))

    def tell(self, subject: str, body: str, only: Sequence[str] = ()) -> None:
        """Tell something that has no end; to all addresses, or those ids."""
        with self.changing() as state:
            self._post(state, QueuedMessage(subject, body, list(only) or [EVERYBODY]))

    def deliver(self) -> None:
        """Send what waits, oldest first, to each address that is not being left in peace after a failure.

        What is not taken stays. Does nothing while another process delivers.
        """
        with self._only_one("deliver.lock") as mine:
            if not mine:
                return
            if not self.addresses and self.state().messages:
                with self.changing() as state:
                    state.messages.clear()  # there is nobody to tell
            for address in self.addresses:
                self._deliver_to(address)

    def state(self) -> NotificationState:
        """All that is kept, as it is now."""
        return self._unwritten or self._read()

    @property
    def is_written(self) -> bool:
        """Whether other processes see what this one noted."""
        return self._unwritten is None

    @contextmanager
    def changing(self) -> Iterator[NotificationState]:
        """The state, to be changed by one process at a time, and written when the block ends."""
        with self._only_one("state.lock", wait=True):
            state = self.state()
            yield state
            self._write(state)

    @contextmanager
    def watching(self) -> Iterator[bool]:
        """Whether this process is now the watch: no other is."""
        with self._only_one("watch.lock") as mine:
            yield mine

    def is_watched(self) -> bool:
        """Whether a watch runs, which will deliver what is left to it."""
        with self._only_one("watch.lock") as mine:
            return not mine

    def _to(self, state: NotificationState, key: str) -> list[str]:
        """That an address takes nothing is told to the others."""
        return (
            [one.id for one in self.addresses if one.id not in state.troubles] if key == UNDELIVERABLE else [EVERYBODY]
        )

    def _note_in_mail(self, state: NotificationState, entry: Entry, names_run: bool) -> None:
        """What came to be known before anybody heard of it is in the first mail."""
        for message in state.messages:
            if message.key == entry["key"] and self._is_untouched(message):
                message.body, message.names_run = body_of(entry), message.names_run or names_run

    def _is_untouched(self, message: QueuedMessage) -> bool:
        return message.pending == [EVERYBODY] or len(message.pending) == len(self.addresses)

    def _post(self, state: NotificationState, message: QueuedMessage) -> None:
        if message.pending and message not in state.messages:  # said twice, it waits once
            state.messages.append(message)

    def _deliver_to(self, address: Address) -> None:
        while True:
            now = self._clock()
            with self.changing() as state:
                self._readdress(state)
                trouble = state.troubles.get(address.id)
                if trouble is not None and now < datetime.fromisoformat(trouble.next_try) <= now + _LATEST:
                    return  # a later try was set by a clock that was ahead
                message = next((one for one in state.messages if address.id in one.pending), None)
                if message is None:
                    return
            taken = self._send(address, message.subject, message.body)
            with self.changing() as state:
                if not taken:
                    state.troubles[address.id] = _later(state.troubles.get(address.id), self._clock())
                    return
                state.troubles.pop(address.id, None)
                self._taken(state, message, address)

    def _taken(self, state: NotificationState, message: QueuedMessage, address: Address) -> None:
        waiting = next((one for one in state.messages if one == message), None)
        if waiting is None:
            return
        waiting.pending.remove(address.id)
        if not waiting.pending:
            state.messages.remove(waiting)
        entry = state.find(message.key)
        if entry is not None and entry["delivered_at"] is None:
            entry["delivered_at"] = self._clock().isoformat()

    def _readdress(self, state: NotificationState) -> None:
        """What is for everybody, or waits for an address that is not set any more, goes to those that are."""
        ids = [one.id for one in self.addresses]
        for message in state.messages:
            if not set(message.pending) <= set(ids):
                message.pending = [one for one in message.pending if one in ids] or list(ids)
        state.troubles = {one: trouble for one, trouble in state.troubles.items() if one in ids}

    @contextmanager
    def _only_one(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = os.open(self._folder / name, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:  # the disk is full or not ours to write: alone is better than silent
            yield True
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = True
        except OSError:
            mine = False
        try:
            yield mine
        finally:
            os.close(file)

    def _read(self) -> NotificationState:
        state = NotificationState()
        with suppress(OSError, ValueError):
            state.open = json.loads((self._folder / "open.json").read_text())
        with suppress(OSError, ValueError, TypeError, KeyError):
            kept = json.loads((self._folder / "outbox.json").read_text())
            state.messages = [QueuedMessage(**one) for one in kept["messages"]]
            state.troubles = {one: DeliveryFailure(**trouble) for one, trouble in kept["troubles"].items()}
            state.notes = kept["notes"]
        return state

    def _write(self, state: NotificationState) -> None:
        outbox = {
            "messages": [asdict(one) for one in state.messages],
            "troubles": {one: asdict(trouble) for one, trouble in state.troubles.items()},
            "notes": state.notes,
        }
        self._unwritten = None
        held = self._folder / _RESERVE
        try:
            self._write_files(outbox, state.open)
            reserve(held)
        except OSError:
            try:
                held.unlink()
                self._write_files(outbox, state.open)
            except OSError:
                self._unwritten = state

    def _write_files(self, outbox: Any, open_alerts: list[Entry]) -> None:
        replace_json(self._folder / "outbox.json", outbox, mode=0o600)
        replace_json(self._folder / "open.json", open_alerts, mode=0o644)


def _later(trouble: DeliveryFailure | None, now: datetime) -> DeliveryFailure:
    tries = trouble.tries + 1 if trouble else 1
    wait = min(_SOONEST * 2 ** min(tries - 1, 10), _LATEST)
    return DeliveryFailure(trouble.since if trouble else now.isoformat(), tries, (now + wait).isoformat())
