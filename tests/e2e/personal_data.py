"""Search for personal data and secrets in all files that must not contain them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Folders that must contain personal data: raw pages, the database, working files, backups.
_PRIVATE_FOLDERS = {"landing", "postgres", "shaped", "backups"}
_EMAIL = re.compile(rb"[\w.+-]+(?:@|%40)[\w-]+\.[a-z]+")
# Two capitalised words, as in a text or as two fields of a record.
_NAME = re.compile(rb"\b([A-Z][a-z]+)(?: |\W{1,6}(?:last_name)?\W{1,6})(?=([A-Z][a-z]+)\b)")


@dataclass(frozen=True)
class Secrets:
    """E-mails and names of users, and other secrets with a description of each."""

    emails: frozenset[bytes]
    names: frozenset[tuple[bytes, bytes]]
    secrets: Mapping[str, str]

    @classmethod
    def from_rows(cls, users: Sequence[Any], tracks: Sequence[Any], secrets: Mapping[str, str]) -> Secrets:
        """All users of these rows, except those with the name of an artist."""
        artists = {tuple(text.split()) for row in tracks for text in row.values() if isinstance(text, str)}
        names = {(row.get("first_name"), row.get("last_name")) for row in users} - artists
        return cls(
            frozenset(str(row["email"]).encode() for row in users if row.get("email")),
            frozenset((first.encode(), last.encode()) for first, last in names if first and last),
            secrets,
        )

    def found_in(self, content: bytes) -> set[str]:
        """The personal data and secrets in the content."""
        emails = {email.replace(b"%40", b"@") for email in _EMAIL.findall(content)} & self.emails
        names = set(_NAME.findall(content)) & self.names
        secrets = {description for description, secret in self.secrets.items() if secret.encode() in content}
        return secrets | {email.decode() for email in emails} | {b" ".join(name).decode() for name in names}


def readable_files(data_dir: Path) -> Iterator[Path]:
    """Logs, Data Docs, notifications, models, and all files of Prefect."""
    for folder in sorted(data_dir.iterdir()):
        if folder.name not in _PRIVATE_FOLDERS:
            yield from (path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else (folder,)
