"""Listeners who were erased, and must not come back: what the source still sends of them is turned away.

Kept is a keyed hash of each id, in `ops.suppressed_listeners` and in a copy beside the backups. The copy serves when
there is no database to ask, and knows what came after a backup that was restored.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from core.database import Connection, readable_errors, statement
from core.errors import LandingError

COPY = Path("backups") / "erased.json"
_KEY_BYTES = 32
_REMEMBERED = 200_000


@dataclass(frozen=True)
class Suppression:
    """One listener, as a keyed hash of their id. `allowed_at`: they may come back since then."""

    key: bytes
    fingerprint: bytes
    erased_at: datetime
    allowed_at: datetime | None = None

    @property
    def last_word_at(self) -> datetime:
        """When it was last decided."""
        return max(self.erased_at, self.allowed_at or self.erased_at)


@dataclass
class Suppressed:
    """The list. Safe to share between threads."""

    entries: tuple[Suppression, ...] = ()
    _clean: set[int] = field(default_factory=set, repr=False)

    def __bool__(self) -> bool:
        return any(entry.allowed_at is None for entry in self.entries)

    def among(self, ids: Iterable[int]) -> set[int]:
        """Which of these listeners are turned away."""
        if not self:
            return set()
        if len(self._clean) > _REMEMBERED:
            self._clean = set()
        unknown = set(ids) - self._clean
        prints: dict[bytes, set[bytes]] = {}
        for entry in self.entries:
            if entry.allowed_at is None:
                prints.setdefault(entry.key, set()).add(entry.fingerprint)
        found = {one for one in unknown for key, known in prints.items() if fingerprint(key, one) in known}
        self._clean |= unknown - found
        return found

    def entry_of(self, user_id: int) -> Suppression | None:
        """What is kept of this listener, if anything."""
        mine = (entry for entry in self.entries if fingerprint(entry.key, user_id) == entry.fingerprint)
        return max(mine, key=lambda entry: entry.last_word_at, default=None)

    def suppressing(self, user_id: int, now: datetime) -> Suppression:
        """The entry of this listener from now on: the one there is, or one under the key of the others."""
        entry = self.entry_of(user_id)
        if entry is not None:
            return entry if entry.allowed_at is None else replace(entry, erased_at=now, allowed_at=None)
        key = self.entries[0].key if self.entries else secrets.token_bytes(_KEY_BYTES)
        return Suppression(key, fingerprint(key, user_id), now)


def fingerprint(key: bytes, user_id: int) -> bytes:
    """The keyed hash of an id."""
    return hashlib.blake2b(str(user_id).encode(), key=key, digest_size=16).digest()


def read_copy(data_dir: Path) -> Suppressed:
    """The list as the copy has it; nobody when there is none. Raises LandingError when it cannot be read."""
    path = data_dir / COPY
    try:
        rows = json.loads(path.read_text())["listeners"]
        return Suppressed(tuple(_entry(row) for row in rows))
    except FileNotFoundError:
        return Suppressed()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LandingError(
            f"the list of erased listeners in {path} cannot be read ({type(error).__name__}); put another back, or "
            "delete it if the database has all of them"
        ) from error


def read_database(connection: Connection) -> Suppressed:
    """The list as the database has it. Raises DatabaseError."""
    with readable_errors():
        rows = connection.execute(statement("erasure/suppressed_listeners")).fetchall()
    return Suppressed(tuple(Suppression(bytes(key), bytes(hashed), *times) for key, hashed, *times in rows))


def renew_copy(connection: Connection, data_dir: Path) -> Suppressed:
    """Bring the copy in line with the database, and return both together: of two words on one listener, the last.

    Running it again changes nothing. Raises DatabaseError, LandingError.
    """
    kept = read_copy(data_dir)
    both = merged(kept, read_database(connection))
    if both.entries != kept.entries:
        _write_copy(data_dir, both)
    return both


def merged(*lists: Suppressed) -> Suppressed:
    """All listeners of the lists, each with the last word, in a fixed order."""
    by_print: dict[tuple[bytes, bytes], Suppression] = {}
    for entry in (entry for one in lists for entry in one.entries):
        known = by_print.setdefault((entry.key, entry.fingerprint), entry)
        if entry.last_word_at > known.last_word_at:
            by_print[entry.key, entry.fingerprint] = entry
    return Suppressed(tuple(sorted(by_print.values(), key=lambda one: (one.erased_at, one.key, one.fingerprint))))


def _write_copy(data_dir: Path, suppressed: Suppressed) -> None:
    path = data_dir / COPY
    unfinished = path.with_name(f".{path.name}.part")
    content = json.dumps({"listeners": [_row(entry) for entry in suppressed.entries]}, indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.unlink(missing_ok=True)
        with os.fdopen(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise LandingError(f"the list of erased listeners cannot be written to {path}: {error.strerror}") from error


def _row(entry: Suppression) -> dict[str, str | None]:
    return {
        "key": entry.key.hex(),
        "fingerprint": entry.fingerprint.hex(),
        "erased_at": entry.erased_at.isoformat(),
        "allowed_at": entry.allowed_at.isoformat() if entry.allowed_at else None,
    }


def _entry(row: dict[str, str | None]) -> Suppression:
    allowed_at = row["allowed_at"]
    return Suppression(
        bytes.fromhex(row["key"] or ""),
        bytes.fromhex(row["fingerprint"] or ""),
        datetime.fromisoformat(row["erased_at"] or ""),
        datetime.fromisoformat(allowed_at) if allowed_at else None,
    )
