"""Open incidents and queued messages, in small files in `DATA_DIR/alerts`; in memory when the disk is full.

`open.json` lists the open incidents for people and the health page, `closed.json` the last 200 closed ones for the
console. `outbox.json` is internal: it holds messages and the addresses that have not accepted them yet. Several
processes share the folder. Only one process at a time changes it, and only one process at a time delivers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from core.clock import Clock
from core.data_layout import DataLayout
from core.file_locks import exclusive_lock
from notifications.defects import clear_defect
from notifications.delivery import Address, Send
from notifications.files import replace_json, reserve
from notifications.notification import Notification, closing_body, closing_subject, incident_body

UNDELIVERABLE = "alerts-undelivered"
ALL_ADDRESSES = "*"
DATABASE, PREFECT, SERVING, DISK = "database", "prefect-server", "serving", "disk"
# A full disk causes these incidents too. They are merged into the incident of the disk, and open only if they outlast
# it.
_CAUSED_BY_FULL_DISK = (DATABASE, PREFECT, SERVING)
# Deleted when the disk is full, so that open incidents can still be written.
_RESERVE = "reserve"
_MAX_CLOSED = 200
_SHORTEST_DELAY, _LONGEST_DELAY = timedelta(seconds=15), timedelta(minutes=1)

Incident = dict[str, Any]


@dataclass
class QueuedMessage:
    """A message that is not delivered yet. `key` is the incident that it opens, if any.

    `pending` holds the ids of addresses that have not accepted it, or `ALL_ADDRESSES`: the process that delivers knows
    the addresses, while the process that queues may not. `names_run` says that the message names a stopped run: it is
    sent even if its incident has closed, because that run must be repeated.
    """

    subject: str
    body: str
    pending: list[str]
    key: str = ""
    names_run: bool = False


@dataclass
class DeliveryFailure:
    """An address that does not accept messages. Times are ISO text."""

    since: str
    tries: int
    next_try: str


@dataclass
class NotificationState:
    """The content of the files. `delivery_failures` is by id of address. `notes` holds the state of the watchdog."""

    open: list[Incident] = field(default_factory=list)
    closed: list[Incident] = field(default_factory=list)
    messages: list[QueuedMessage] = field(default_factory=list)
    delivery_failures: dict[str, DeliveryFailure] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    def find(self, key: str) -> Incident | None:
        """Return the open incident with that key, or None."""
        return next((incident for incident in self.open if incident["key"] == key), None)


class IncidentStore:
    """The incidents and messages of one DATA_DIR. A full disk or an unreachable mail server raises no error here."""

    def __init__(self, data_dir: Path, addresses: Sequence[Address], send: Send, clock: Clock) -> None:
        self._layout = DataLayout(data_dir)
        self._folder = self._layout.notifications
        self.addresses = list(addresses)
        self._send = send
        self._clock = clock
        self._unwritten: NotificationState | None = None

    def open_incident(self, notification: Notification, note: str = "", *, sent_by_prefect: bool = False) -> None:
        """Open an incident and queue its message; add the note if it is open already.

        `note` names the run that the cause stopped. It is part of the closing message too. With `sent_by_prefect`,
        Prefect's automation sends the message, so none is queued.
        """
        names_run = bool(note)
        with self.locked_state() as state:
            incident = state.find(notification.key)
            disk = state.find(DISK) if notification.key in _CAUSED_BY_FULL_DISK else None
            if incident is None and disk is not None:
                incident, note = disk, f"{note} Since then {notification.summary}.".lstrip()
            if incident is not None:
                if note not in incident["kept"]:
                    incident["kept"] = f"{incident['kept']} {note}"
                    self._update_queued_message(state, incident, names_run)
                return
            notification = replace(notification, unaffected=f"{notification.unaffected} {note}".rstrip())
            state.open.append(
                {
                    "key": notification.key,
                    "what": notification.description,
                    "since": notification.since.isoformat(),
                    "kept": notification.unaffected,
                    "next": notification.next,
                    "severity": notification.severity,
                    "delivered_at": self._clock().isoformat() if sent_by_prefect and self.addresses else None,
                }
            )
            if not sent_by_prefect:
                pending = self._recipients(state, notification.key)
                message = QueuedMessage(notification.subject, notification.body, pending, notification.key, names_run)
                self._enqueue(state, message)

    def close_incident(self, key: str) -> None:
        """Close an incident and queue its closing message. Does nothing if it is not open."""
        with self.locked_state() as state:
            incident = state.find(key)
            if incident is None:
                return
            state.open.remove(incident)
            closed = {name: incident[name] for name in ("key", "what", "since", "severity")}
            state.closed = [*state.closed, closed | {"closed_at": self._clock().isoformat()}][-_MAX_CLOSED:]
            # An opening message that nobody received is dropped: the closing message says the same.
            state.messages = [
                message
                for message in state.messages
                if message.key != key or message.names_run or not self._is_undelivered(message)
            ]
            subject, body = closing_subject(incident), closing_body(incident, self._clock())
            self._enqueue(state, QueuedMessage(subject, body, [ALL_ADDRESSES]))

    def queue_message(self, subject: str, body: str, only: Sequence[str] = ()) -> None:
        """Queue a message without an incident, for all addresses or only for the given ids."""
        with self.locked_state() as state:
            self._enqueue(state, QueuedMessage(subject, body, list(only) or [ALL_ADDRESSES]))

    def deliver(self) -> None:
        """Send queued messages, oldest first. An address that failed lately is tried again later.

        Messages that an address does not accept stay queued. Does nothing while another process delivers.
        """
        with self._only_one("deliver.lock") as acquired:
            if not acquired:
                return
            if not self.addresses and self.state().messages:
                with self.locked_state() as state:
                    state.messages.clear()
            is_sent = [self._deliver_to(address) for address in self.addresses]
            if any(is_sent) and not self.state().delivery_failures:
                clear_defect(self._layout.data_dir)

    def state(self) -> NotificationState:
        return self._unwritten or self._read()

    @property
    def is_written(self) -> bool:
        """Whether the last change is on disk, where other processes see it."""
        return self._unwritten is None

    @contextmanager
    def locked_state(self) -> Iterator[NotificationState]:
        """Lock the state for changes, and write it when the block ends."""
        with self._only_one("state.lock", wait=True):
            state = self.state()
            yield state
            self._write(state)

    @contextmanager
    def watchdog_lock(self) -> Iterator[bool]:
        """Try to become the watchdog of this DATA_DIR. Yields False if another process is."""
        with self._only_one("watch.lock") as acquired:
            yield acquired

    def is_watchdog_running(self) -> bool:
        """Whether a watchdog runs, which delivers queued messages."""
        with self._only_one("watch.lock") as acquired:
            return not acquired

    def _recipients(self, state: NotificationState, key: str) -> list[str]:
        """Return all addresses; for an undeliverable notification, those that still accept messages."""
        if key != UNDELIVERABLE:
            return [ALL_ADDRESSES]
        return [address.id for address in self.addresses if address.id not in state.delivery_failures]

    def _update_queued_message(self, state: NotificationState, incident: Incident, names_run: bool) -> None:
        """Rewrite the opening message with the new facts, as long as nobody received it."""
        for message in state.messages:
            if message.key == incident["key"] and self._is_undelivered(message):
                message.body, message.names_run = incident_body(incident), message.names_run or names_run

    def _is_undelivered(self, message: QueuedMessage) -> bool:
        return message.pending == [ALL_ADDRESSES] or len(message.pending) == len(self.addresses)

    def _enqueue(self, state: NotificationState, message: QueuedMessage) -> None:
        if message.pending and message not in state.messages:
            state.messages.append(message)

    def _deliver_to(self, address: Address) -> bool:
        """Send the messages queued for an address. Returns whether it accepted a message."""
        is_sent = False
        while True:
            now = self._clock()
            with self.locked_state() as state:
                self._readdress(state)
                failure = state.delivery_failures.get(address.id)
                # A clock that was ahead may have set a time far in the future, which does not count.
                if failure is not None and now < datetime.fromisoformat(failure.next_try) <= now + _LONGEST_DELAY:
                    return is_sent
                message = next((queued for queued in state.messages if address.id in queued.pending), None)
                if message is None:
                    return is_sent
            accepted = self._send(address, message.subject, message.body)
            with self.locked_state() as state:
                if not accepted:
                    failure = state.delivery_failures.get(address.id)
                    state.delivery_failures[address.id] = _next_failure(failure, self._clock())
                    return is_sent
                state.delivery_failures.pop(address.id, None)
                self._mark_delivered(state, message, address)
            is_sent = True

    def _mark_delivered(self, state: NotificationState, message: QueuedMessage, address: Address) -> None:
        queued = next((candidate for candidate in state.messages if candidate == message), None)
        if queued is None:
            return
        queued.pending.remove(address.id)
        if not queued.pending:
            state.messages.remove(queued)
        incident = state.find(message.key)
        if incident is not None and incident["delivered_at"] is None:
            incident["delivered_at"] = self._clock().isoformat()

    def _readdress(self, state: NotificationState) -> None:
        """Replace `ALL_ADDRESSES`, and ids that are no longer in the setting, by the ids of the setting."""
        ids = [address.id for address in self.addresses]
        for message in state.messages:
            if not set(message.pending) <= set(ids):
                message.pending = [address_id for address_id in message.pending if address_id in ids] or list(ids)
        failures = state.delivery_failures
        state.delivery_failures = {address_id: failures[address_id] for address_id in ids if address_id in failures}

    @contextmanager
    def _only_one(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = exclusive_lock(self._folder / name, math.inf if wait else 0)
        except BlockingIOError:
            yield False
            return
        except OSError:  # full or read-only disk: go on without the lock, so that notifications are sent
            yield True
            return
        with lock:
            yield True

    def _read(self) -> NotificationState:
        state = NotificationState()
        with suppress(OSError, ValueError):
            state.open = json.loads(self._layout.open_incidents.read_text())
        with suppress(OSError, ValueError):
            state.closed = json.loads(self._layout.closed_incidents.read_text())
        with suppress(OSError, ValueError, TypeError, KeyError):
            outbox = json.loads((self._folder / "outbox.json").read_text())
            state.messages = [QueuedMessage(**message) for message in outbox["messages"]]
            state.delivery_failures = {
                address_id: DeliveryFailure(**failure) for address_id, failure in outbox["troubles"].items()
            }
            state.notes = outbox["notes"]
        return state

    def _write(self, state: NotificationState) -> None:
        outbox = {
            "messages": [asdict(message) for message in state.messages],
            "troubles": {address_id: asdict(failure) for address_id, failure in state.delivery_failures.items()},
            "notes": state.notes,
        }
        self._unwritten = None
        reserved = self._folder / _RESERVE
        try:
            self._write_files(outbox, state)
            reserve(reserved)
        except OSError:
            try:
                reserved.unlink()
                self._write_files(outbox, state)
            except OSError:
                self._unwritten = state

    def _write_files(self, outbox: Any, state: NotificationState) -> None:
        replace_json(self._folder / "outbox.json", outbox, mode=0o600)
        replace_json(self._layout.open_incidents, state.open, mode=0o644)
        if state.closed:
            replace_json(self._layout.closed_incidents, state.closed, mode=0o644)


def _next_failure(failure: DeliveryFailure | None, now: datetime) -> DeliveryFailure:
    tries = failure.tries + 1 if failure else 1
    delay = min(_SHORTEST_DELAY * 2 ** min(tries - 1, 10), _LONGEST_DELAY)
    return DeliveryFailure(failure.since if failure else now.isoformat(), tries, (now + delay).isoformat())
