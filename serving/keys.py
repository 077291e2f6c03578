"""Manage API keys: `python -m serving.keys create | list | revoke`.

A key is `mm_<key id>_<secret>`. It is printed once, when it is created; the database stores a hash of the secret.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import get_args

from core.api_scopes import Scope
from core.clock import clock_of
from core.database import Connection, connect, readable_errors
from core.errors import UsageError
from core.exit_codes import returns_exit_code, run_main
from core.queries import load_query
from core.roles import ensure_schema
from core.settings import Settings, load_settings
from core.terminal import prepare_terminal

SCOPES: tuple[Scope, ...] = get_args(Scope)
_FORMAT = re.compile(r"mm_([0-9a-f]{12})_([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True)
class ApiKey:
    """An API key: its id and its secret."""

    key_id: str
    secret: str = field(repr=False)

    @classmethod
    def read(cls, text: str) -> ApiKey | None:
        """Parse a key. Returns None for text that is not in the format of a key."""
        match = _FORMAT.fullmatch(text)
        return cls(*match.groups()) if match else None

    @classmethod
    def new(cls) -> ApiKey:
        """Create a key with 256 random bits."""
        return cls(secrets.token_hex(6), secrets.token_hex(32))

    @property
    def text(self) -> str:
        """The text that the client sends."""
        return f"mm_{self.key_id}_{self.secret}"

    @property
    def secret_hash(self) -> bytes:
        """SHA-256 of the secret. A fast hash is safe, because 256 random bits cannot be guessed."""
        return hashlib.sha256(self.secret.encode()).digest()


def create(
    connection: Connection, name: str, scopes: Sequence[Scope], now: datetime, days: int | None = None
) -> ApiKey:
    """Store a new key. It expires after `days` days, or never. Raises DatabaseError."""
    key = ApiKey.new()
    parameters = {
        "key_id": key.key_id,
        "name": name,
        "secret_hash": key.secret_hash,
        "scopes": sorted(set(scopes)),
        "created_at": now,
        "expires_at": None if days is None else now + timedelta(days=days),
    }
    with readable_errors():
        connection.execute(load_query("serving/api_keys.insert_key"), parameters)
    return key


def revoke(connection: Connection, key_id: str, now: datetime) -> bool:
    """Revoke a key; return False for an unknown key. Revoking twice is harmless. Raises DatabaseError."""
    with readable_errors():
        parameters = {"key_id": key_id, "revoked_at": now}
        return connection.execute(load_query("serving/api_keys.revoke_key"), parameters).fetchone() is not None


def describe_keys(connection: Connection, now: datetime) -> list[str]:
    """One line per key, newest first. Raises DatabaseError."""
    with readable_errors():
        rows = connection.execute(load_query("serving/api_keys.find_keys")).fetchall()
    lines = []
    for key_id, name, scopes, created_at, expires_at, revoked_at in rows:
        state = "valid" if expires_at is None else f"valid until {expires_at:%Y-%m-%d}"
        if expires_at is not None and expires_at <= now:
            state = f"expired {expires_at:%Y-%m-%d}"
        if revoked_at is not None:
            state = f"revoked {revoked_at:%Y-%m-%d}"
        lines.append(f"{key_id}  {created_at:%Y-%m-%d}  {state:<22}  {' '.join(scopes)}  {name}")
    return lines


@contextmanager
def _migrated_database(settings: Settings) -> Iterator[Connection]:
    """Connect to the database, and migrate its schema if needed. Raises DatabaseError, AlreadyRunning.

    Only a migration waits for a running flow, so that a leaked key is revoked at once.
    """
    with connect(ensure_schema(settings)) as connection:
        yield connection


@returns_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Exit 0: done; 1: it failed; 2: wrong arguments or settings."""
    prepare_terminal()
    parsed = _parse(arguments)
    settings = load_settings(data_dir_is_written=False)
    now = clock_of(settings)()
    with _migrated_database(settings) as connection:
        if parsed.command == "create":
            key = create(connection, parsed.name, parsed.scope, now, parsed.days)
            print(key.text)
            print(f"created {key.key_id}; the key is not shown again", file=sys.stderr)
        elif parsed.command == "list":
            print(
                "\n".join(describe_keys(connection, now))
                or "there is no key; create one: python -m serving.keys create -h"
            )
        elif revoke(connection, parsed.key_id, now):
            print(f"revoked {parsed.key_id}")
        else:
            raise UsageError(f"there is no key {parsed.key_id}")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m serving.keys", description="API keys of the serving API.")
    commands = parser.add_subparsers(dest="command", required=True)
    create_parser = commands.add_parser("create", help="create a key and print it once")
    create_parser.add_argument("--name", required=True, type=_name, help="the client, such as mobile-app")
    create_parser.add_argument("--scope", required=True, action="append", choices=SCOPES, help="a scope; repeatable")
    create_parser.add_argument("--days", type=_days, help="days until the key expires (default: never)")
    commands.add_parser("list", help="list all keys, without secrets")
    revoke_parser = commands.add_parser("revoke", help="revoke a key within seconds")
    revoke_parser.add_argument("key_id", type=_key_id, help="the part between mm_ and the secret")
    return parser.parse_args(arguments)


def _name(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise argparse.ArgumentTypeError("must be one line of text")
    return text.strip()


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 36_500:
        raise argparse.ArgumentTypeError("must be a number of days, 1 to 36500")
    return int(text)


def _key_id(text: str) -> str:
    """Accept a key id, or a whole key, which contains the id."""
    api_key = ApiKey.read(text)
    key_id = api_key.key_id if api_key else text
    if not re.fullmatch("[0-9a-f]{12}", key_id):
        raise argparse.ArgumentTypeError("must be 12 characters, 0-9 and a-f")
    return key_id


if __name__ == "__main__":
    sys.exit(run_main(main))
