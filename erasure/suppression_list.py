"""Listeners who were erased, and must not come back: what the source still sends of them is turned away.

Kept are keyed hashes of each id, and of the e-mails that rows without an id may bear, in `ops.suppressed_listeners` and
in a copy beside the backups. The copy serves when there is no database to ask, and knows what came after a backup that
was restored.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from core.atomic_files import write_atomically
from core.canonical import canonical_e_mail
from core.data_layout import DataLayout
from core.database import Connection, readable_errors
from core.endpoints import Endpoint
from core.errors import LandingError
from core.queries import load_query
from erasure.subject_matching import e_mails_in, ids_in_key_field, legacy_e_mails_in
from pipeline.raw_pages import make_private_folder

_KEY_BYTES = 32
_REMEMBERED = 200_000


@dataclass(frozen=True)
class SuppressionEntry:
    """One listener, as a keyed hash of their id. `allowed_at`: they may come back since then."""

    key: bytes
    fingerprint: bytes
    erased_at: datetime
    allowed_at: datetime | None = None
    e_mails: tuple[bytes, ...] = ()

    @property
    def decided_at(self) -> datetime:
        """When it was last decided."""
        return max(self.erased_at, self.allowed_at or self.erased_at)


@dataclass
class SuppressionList:
    """The list. Safe to share between threads."""

    entries: tuple[SuppressionEntry, ...] = ()
    _clean: set[int] = field(default_factory=set, repr=False)

    def __bool__(self) -> bool:
        return any(entry.allowed_at is None for entry in self.entries)

    def matching_ids(self, user_ids: Iterable[int]) -> set[int]:
        """Which of these listeners are turned away."""
        if not self:
            return set()
        if len(self._clean) > _REMEMBERED:
            self._clean = set()
        unknown = set(user_ids) - self._clean
        active = self._by_key(lambda entry: (entry.fingerprint,))
        found = {one for one in unknown for key, known in active.items() if fingerprint(key, one) in known}
        self._clean |= unknown - found
        return found

    def matches_row_without_id(self, endpoint: Endpoint, raw: str) -> bool:
        """Whether a row that names no id bears an e-mail of one of them, or their id among other text in its place."""
        active = self._by_key(lambda entry: entry.e_mails)
        if not active:
            return False
        e_mails = e_mails_in(raw) | legacy_e_mails_in(raw)
        if any(fingerprint(key, e_mail) in known for e_mail in e_mails for key, known in active.items()):
            return True
        return bool(self.matching_ids(ids_in_key_field(endpoint, raw)))

    def _by_key(self, hashes: Callable[[SuppressionEntry], Iterable[bytes]]) -> dict[bytes, set[bytes]]:
        by_key: dict[bytes, set[bytes]] = {}
        for entry in self.entries:
            if entry.allowed_at is None:
                by_key.setdefault(entry.key, set()).update(hashes(entry))
        return by_key

    def entry_of(self, user_id: int) -> SuppressionEntry | None:
        """What is kept of this listener, if anything."""
        mine = (entry for entry in self.entries if fingerprint(entry.key, user_id) == entry.fingerprint)
        return max(mine, key=lambda entry: entry.decided_at, default=None)

    def suppressed_entry(self, user_id: int, now: datetime, e_mails: Iterable[str] = ()) -> SuppressionEntry:
        """The entry of this listener from now on: the one there is, or one under the key of the others."""
        entry = self.entry_of(user_id)
        if entry is None:
            key = self.entries[0].key if self.entries else secrets.token_bytes(_KEY_BYTES)
            entry = SuppressionEntry(key, fingerprint(key, user_id), now)
        elif entry.allowed_at is not None:
            entry = replace(entry, erased_at=now, allowed_at=None)
        return _with_e_mails(entry, {fingerprint(entry.key, canonical_e_mail(e_mail)) for e_mail in e_mails})


def fingerprint(key: bytes, what: int | str) -> bytes:
    """The keyed hash of an id, or of an e-mail address in canonical form; earlier versions only used small letters."""
    return hashlib.blake2b(str(what).encode("utf-8", "backslashreplace"), key=key, digest_size=16).digest()


def _with_e_mails(entry: SuppressionEntry, e_mails: Iterable[bytes]) -> SuppressionEntry:
    return replace(entry, e_mails=tuple(sorted({*entry.e_mails, *e_mails})))


def read_copy(data_dir: Path) -> SuppressionList:
    """The list as the copy has it; nobody when there is none. Raises LandingError when it cannot be read."""
    path = DataLayout(data_dir).suppression_list
    try:
        rows = json.loads(path.read_text())["listeners"]
        return SuppressionList(tuple(_entry(row) for row in rows))
    except FileNotFoundError:
        return SuppressionList()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LandingError(
            f"the list of erased listeners in {path} cannot be read ({type(error).__name__}); put another back, or "
            "delete it if the database has all of them"
        ) from error


def read_database(connection: Connection) -> SuppressionList:
    """The list as the database has it. Raises DatabaseError."""
    with readable_errors():
        rows = connection.execute(load_query("erasure/suppression_list.find_suppressions")).fetchall()
    return SuppressionList(
        tuple(
            SuppressionEntry(bytes(key), bytes(hashed), erased_at, allowed_at, tuple(map(bytes, e_mails)))
            for key, hashed, erased_at, allowed_at, e_mails in rows
        )
    )


def synchronize_copy(connection: Connection, data_dir: Path) -> SuppressionList:
    """Bring the copy in line with the database, and return both together: of two words on one listener, the last.

    Running it again changes nothing. Raises DatabaseError, LandingError.
    """
    kept = read_copy(data_dir)
    both = merge(kept, read_database(connection))
    if both.entries != kept.entries:
        _write_copy(data_dir, both)
    return both


def merge(*lists: SuppressionList) -> SuppressionList:
    """All listeners of the lists, each with the last word, in a fixed order."""
    by_print: dict[tuple[bytes, bytes], SuppressionEntry] = {}
    for entry in (entry for one in lists for entry in one.entries):
        known = by_print.setdefault((entry.key, entry.fingerprint), entry)
        last = entry if entry.decided_at > known.decided_at else known
        by_print[entry.key, entry.fingerprint] = _with_e_mails(last, {*entry.e_mails, *known.e_mails})
    return SuppressionList(tuple(sorted(by_print.values(), key=lambda one: (one.erased_at, one.key, one.fingerprint))))


def _write_copy(data_dir: Path, suppressed: SuppressionList) -> None:
    path = DataLayout(data_dir).suppression_list
    content = json.dumps({"listeners": [_row(entry) for entry in suppressed.entries]}, indent=1)
    try:
        make_private_folder(path.parent)
        write_atomically(path, content, mode=0o600, durable=True)
    except OSError as error:
        raise LandingError(f"the list of erased listeners cannot be written to {path}: {error.strerror}") from error


def _row(entry: SuppressionEntry) -> dict[str, Any]:
    return {
        "key": entry.key.hex(),
        "fingerprint": entry.fingerprint.hex(),
        "e_mails": [one.hex() for one in entry.e_mails],
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
        tuple(bytes.fromhex(one) for one in row["e_mails"]),
    )
