"""The suppression list: erased users, whose rows are removed from later snapshots.

It holds keyed hashes of user ids, and of the e-mail addresses that rows without an id may contain. It is stored in
`ops.suppressed_listeners`, with a copy in a file beside the backups. The copy is used if the database is unavailable.
It also holds erasures that are newer than a restored backup.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from core.canonical import canonical_e_mail
from core.database import Connection, readable_errors
from core.endpoints import Endpoint
from core.errors import LandingError
from core.file_store import FileStore
from core.queries import load_query
from erasure.subject_matching import e_mails_in, ids_in_key_field, legacy_e_mails_in

# The streaming consumer shares this lock while it stores sessions. An erasure takes it alone.
SUPPRESSION_LOCK = 7_300_811_025
_COPY = "erased.json"
_KEY_BYTES = 32
_MAX_REMEMBERED_IDS = 200_000


@dataclass(frozen=True)
class SuppressionEntry:
    """One user, as a keyed hash of their id. Since `allowed_at`, their rows are accepted again."""

    key: bytes
    fingerprint: bytes
    erased_at: datetime
    allowed_at: datetime | None = None
    e_mails: tuple[bytes, ...] = ()

    @property
    def decided_at(self) -> datetime:
        """The time of the newest decision about the user."""
        return max(self.erased_at, self.allowed_at or self.erased_at)


@dataclass
class SuppressionList:
    """The list. Threads can share it."""

    entries: tuple[SuppressionEntry, ...] = ()
    _unsuppressed_ids: set[int] = field(default_factory=set, repr=False)

    def __bool__(self) -> bool:
        return any(entry.allowed_at is None for entry in self.entries)

    def matching_ids(self, user_ids: Iterable[int]) -> set[int]:
        """The suppressed ids among `user_ids`."""
        if not self:
            return set()
        if len(self._unsuppressed_ids) > _MAX_REMEMBERED_IDS:
            self._unsuppressed_ids = set()
        unchecked_ids = set(user_ids) - self._unsuppressed_ids
        active = self._active_hashes(lambda entry: (entry.fingerprint,))
        suppressed_ids = {
            user_id
            for user_id in unchecked_ids
            for key, hashes in active.items()
            if fingerprint(key, user_id) in hashes
        }
        self._unsuppressed_ids |= unchecked_ids - suppressed_ids
        return suppressed_ids

    def matches_row_without_id(self, endpoint: Endpoint, raw: str) -> bool:
        """Whether a row without a readable id contains an e-mail address or id of a suppressed user."""
        active = self._active_hashes(lambda entry: entry.e_mails)
        if not active:
            return False
        e_mails = e_mails_in(raw) | legacy_e_mails_in(raw)
        if any(fingerprint(key, e_mail) in hashes for e_mail in e_mails for key, hashes in active.items()):
            return True
        return bool(self.matching_ids(ids_in_key_field(endpoint, raw)))

    def _active_hashes(self, hashes: Callable[[SuppressionEntry], Iterable[bytes]]) -> dict[bytes, set[bytes]]:
        """The hashes of users whose rows are not accepted again, by the key of the hashes."""
        by_key: dict[bytes, set[bytes]] = {}
        for entry in self.entries:
            if entry.allowed_at is None:
                by_key.setdefault(entry.key, set()).update(hashes(entry))
        return by_key

    def digest(self) -> str:
        """A digest of all entries: another list has another."""
        rows = json.dumps([_row(entry) for entry in self.entries])
        return hashlib.blake2b(rows.encode(), digest_size=16).hexdigest()

    def entry_of(self, user_id: int) -> SuppressionEntry | None:
        """The newest entry of the user, or None."""
        entries = (entry for entry in self.entries if fingerprint(entry.key, user_id) == entry.fingerprint)
        return max(entries, key=lambda entry: entry.decided_at, default=None)

    def suppressed_entry(self, user_id: int, now: datetime, e_mails: Iterable[str] = ()) -> SuppressionEntry:
        """Return an entry that suppresses the user: the updated existing entry, or a new entry with the list's key."""
        entry = self.entry_of(user_id)
        if entry is None:
            key = self.entries[0].key if self.entries else secrets.token_bytes(_KEY_BYTES)
            entry = SuppressionEntry(key, fingerprint(key, user_id), now)
        elif entry.allowed_at is not None:
            entry = replace(entry, erased_at=now, allowed_at=None)
        return _with_e_mails(entry, {fingerprint(entry.key, canonical_e_mail(e_mail)) for e_mail in e_mails})


def fingerprint(key: bytes, value: int | str) -> bytes:
    """The keyed hash of an id, or of an e-mail address in canonical form. Earlier versions only used lower case."""
    return hashlib.blake2b(str(value).encode("utf-8", "backslashreplace"), key=key, digest_size=16).digest()


def _with_e_mails(entry: SuppressionEntry, e_mails: Iterable[bytes]) -> SuppressionEntry:
    return replace(entry, e_mails=tuple(sorted({*entry.e_mails, *e_mails})))


def read_copy(backups: FileStore) -> SuppressionList:
    """The list in the copy. Empty if there is no copy. Raises LandingError if it cannot be read."""
    try:
        rows = json.loads(backups.read(_COPY))["listeners"]
        return SuppressionList(tuple(_entry(row) for row in rows))
    except FileNotFoundError:
        return SuppressionList()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LandingError(
            f"the suppression list in {backups.location_of(_COPY)} cannot be read ({type(error).__name__}); restore "
            "the file, or delete it if the database holds all erased users"
        ) from error


def read_database(connection: Connection) -> SuppressionList:
    """The list in the database. Raises DatabaseError."""
    with readable_errors():
        rows = connection.execute(load_query("erasure/suppression_list.find_suppressions")).fetchall()
    return SuppressionList(
        tuple(
            SuppressionEntry(bytes(key), bytes(id_hash), erased_at, allowed_at, tuple(map(bytes, e_mails)))
            for key, id_hash, erased_at, allowed_at, e_mails in rows
        )
    )


def synchronize_copy(connection: Connection, backups: FileStore) -> SuppressionList:
    """Merge the list of the database into the copy, and return the merged list. The newest decision on a user counts.

    A second call changes nothing. Raises DatabaseError, LandingError.
    """
    copy = read_copy(backups)
    merged = merge(copy, read_database(connection))
    if merged.entries != copy.entries:
        _write_copy(backups, merged)
    return merged


def merge(*lists: SuppressionList) -> SuppressionList:
    """All users of the lists, each with their newest decision, in a fixed order."""
    newest: dict[tuple[bytes, bytes], SuppressionEntry] = {}
    for entry in (entry for suppressed in lists for entry in suppressed.entries):
        previous = newest.setdefault((entry.key, entry.fingerprint), entry)
        last = entry if entry.decided_at > previous.decided_at else previous
        newest[entry.key, entry.fingerprint] = _with_e_mails(last, {*entry.e_mails, *previous.e_mails})
    return SuppressionList(
        tuple(sorted(newest.values(), key=lambda entry: (entry.erased_at, entry.key, entry.fingerprint)))
    )


def _write_copy(backups: FileStore, suppressed: SuppressionList) -> None:
    content = json.dumps({"listeners": [_row(entry) for entry in suppressed.entries]}, indent=1)
    try:
        backups.write(_COPY, content, durable=True)
    except OSError as error:
        location = backups.location_of(_COPY)
        raise LandingError(f"the suppression list cannot be written to {location}: {error.strerror}") from error


def _row(entry: SuppressionEntry) -> dict[str, Any]:
    return {
        "key": entry.key.hex(),
        "fingerprint": entry.fingerprint.hex(),
        "e_mails": [e_mail.hex() for e_mail in entry.e_mails],
        "erased_at": entry.erased_at.isoformat(),
        "allowed_at": entry.allowed_at.isoformat() if entry.allowed_at else None,
    }


def _entry(row: dict[str, Any]) -> SuppressionEntry:
    allowed_at = row["allowed_at"]
    return SuppressionEntry(
        bytes.fromhex(row["key"]),
        bytes.fromhex(row["fingerprint"]),
        datetime.fromisoformat(row["erased_at"]),
        datetime.fromisoformat(allowed_at) if allowed_at else None,
        tuple(bytes.fromhex(e_mail) for e_mail in row["e_mails"]),
    )
