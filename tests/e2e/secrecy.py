"""Who and what must not be seen, and all the files that people and programs other than ours may read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The places that hold listeners on purpose: raw pages, the database, what lies between two steps, backups.
_HELD_ON_PURPOSE = {"landing", "postgres", "shaped", "backups"}
_EMAIL = re.compile(rb"[\w.+-]+(?:@|%40)[\w-]+\.[a-z]+")
# Two words with a capital, as in a text, or as two fields of a record.
_NAME = re.compile(rb"\b([A-Z][a-z]+)(?: |\W{1,6}(?:last_name)?\W{1,6})(?=([A-Z][a-z]+)\b)")


@dataclass(frozen=True)
class Secrets:
    """What a run knows and nobody may read: e-mails and names of listeners, and secrets by what they are."""

    emails: frozenset[bytes]
    names: frozenset[tuple[bytes, bytes]]
    secrets: Mapping[str, str]

    @classmethod
    def of(cls, users: Sequence[Any], tracks: Sequence[Any], secrets: Mapping[str, str]) -> Secrets:
        """Everyone of these lists, unless an artist has the same name."""
        artists = {tuple(text.split()) for row in tracks for text in row.values() if isinstance(text, str)}
        names = {(row.get("first_name"), row.get("last_name")) for row in users} - artists
        return cls(
            frozenset(str(row["email"]).encode() for row in users if row.get("email")),
            frozenset((first.encode(), last.encode()) for first, last in names if first and last),
            secrets,
        )

    def found_in(self, content: bytes) -> set[str]:
        """What of it stands there."""
        emails = {one.replace(b"%40", b"@") for one in _EMAIL.findall(content)} & self.emails
        names = set(_NAME.findall(content)) & self.names
        told = {what for what, secret in self.secrets.items() if secret.encode() in content}
        return told | {one.decode() for one in emails} | {b" ".join(one).decode() for one in names}


def readable_files(data_dir: Path) -> Iterator[Path]:
    """Logs, Data Docs, alerts, models, and all that Prefect stores: events, artifacts, states, logs of runs."""
    for folder in sorted(data_dir.iterdir()):
        if folder.name not in _HELD_ON_PURPOSE:
            yield from (path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else (folder,)
