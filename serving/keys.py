"""API keys: `python -m serving.keys create | list | revoke`.

A key is `mm_<key id>_<secret>`. It is printed once, when it is made; the database keeps a hash of the secret.
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
from typing import Literal, get_args

from core.clock import clock_of
from core.database import Connection, connect, readable_errors
from core.errors import MoovitamixError, SettingsError
from core.queries import load_query
from core.roles import up_to_date_url
from core.settings import Settings, load_settings
from core.terminal import prepare_terminal
from core.tracebacks import without_tracebacks

Scope = Literal["recommendations:read", "feedback:write", "metrics:read", "dashboard:read"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
_FORMAT = re.compile(r"mm_([0-9a-f]{12})_([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True)
class ApiKey:
    """The two parts of a key."""

    key_id: str
    secret: str = field(repr=False)

    @classmethod
    def read(cls, text: str) -> ApiKey | None:
        """None when it is not even of the form of a key."""
        found = _FORMAT.fullmatch(text)
        return cls(*found.groups()) if found else None

    @classmethod
    def new(cls) -> ApiKey:
        """A key with 256 random bits of secret."""
        return cls(secrets.token_hex(6), secrets.token_hex(32))

    @property
    def text(self) -> str:
        """What the client sends."""
        return f"mm_{self.key_id}_{self.secret}"

    @property
    def secret_hash(self) -> bytes:
        """SHA-256 is enough: 256 random bits cannot be guessed, however fast the hash, unlike a password."""
        return hashlib.sha256(self.secret.encode()).digest()


def create(
    connection: Connection, name: str, scopes: Sequence[Scope], now: datetime, days: int | None = None
) -> ApiKey:
    """Store a new key, which expires after so many days, or never. Raises DatabaseError."""
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
    """Whether there is such a key; it no longer works. Once more changes nothing. Raises DatabaseError."""
    with readable_errors():
        parameters = {"key_id": key_id, "revoked_at": now}
        return connection.execute(load_query("serving/api_keys.revoke_key"), parameters).fetchone() is not None


def describe_keys(connection: Connection, now: datetime) -> list[str]:
    """One line a key, the newest first. Raises DatabaseError."""
    with readable_errors():
        rows = connection.execute(load_query("serving/api_keys.find_keys")).fetchall()
    lines = []
    for key_id, name, scopes, created_at, expires_at, revoked_at in rows:
        state = "works" if expires_at is None else f"works until {expires_at:%Y-%m-%d}"
        if expires_at is not None and expires_at <= now:
            state = f"expired {expires_at:%Y-%m-%d}"
        if revoked_at is not None:
            state = f"revoked {revoked_at:%Y-%m-%d}"
        lines.append(f"{key_id}  {created_at:%Y-%m-%d}  {state:<22}  {' '.join(scopes)}  {name}")
    return lines


@contextmanager
def _migrated(settings: Settings) -> Iterator[Connection]:
    """The database with the schema of today, also before the first ingest. Raises DatabaseError, AlreadyRunning.

    A run at work is waited for only where the schema must change: a key that leaked is revoked at once.
    """
    with connect(up_to_date_url(settings)) as connection:
        yield connection


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is parsed. Exit 0, 1, or 2 for wrong arguments or settings."""
    prepare_terminal()
    parsed = _read(arguments)
    try:
        settings = load_settings(data_dir_is_written=False)
        now = clock_of(settings)()
        with _migrated(settings) as connection:
            if parsed.command == "create":
                key = create(connection, parsed.name, parsed.scope, now, parsed.days)
                print(key.text)
                print(f"made {key.key_id}; it is not shown again", file=sys.stderr)
            elif parsed.command == "list":
                print(
                    "\n".join(describe_keys(connection, now))
                    or "no key yet; make one: python -m serving.keys create -h"
                )
            elif revoke(connection, parsed.key_id, now):
                print(f"revoked {parsed.key_id}")
            else:
                print(f"error: there is no key {parsed.key_id}", file=sys.stderr)
                return 2
    except MoovitamixError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, SettingsError) else 1
    return 0


def _read(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m serving.keys", description="API keys of the serving API.")
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser("create", help="make a key and print it, this once")
    new.add_argument("--name", required=True, type=_name, help="whose it is, such as mobile-app")
    new.add_argument("--scope", required=True, action="append", choices=SCOPES, help="what it may do; repeatable")
    new.add_argument("--days", type=_days, help="days until it expires (default: never)")
    commands.add_parser("list", help="show all keys, without secrets")
    old = commands.add_parser("revoke", help="make a key stop working within seconds")
    old.add_argument("key_id", type=_key_id, help="the part between mm_ and the secret")
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
    """Taken from a whole key too, so that nobody has to cut it by hand."""
    whole = ApiKey.read(text)
    key_id = whole.key_id if whole else text
    if not re.fullmatch("[0-9a-f]{12}", key_id):
        raise argparse.ArgumentTypeError("must be 12 characters, 0-9 and a-f")
    return key_id


if __name__ == "__main__":
    sys.exit(without_tracebacks(main))
