"""Sessions of the console: a random cookie, whose hash is stored, for an API key or a person of OpenID Connect."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from core.api_scopes import Scope
from core.clock import Clock
from serving.console.openid import Person
from serving.database import Database

COOKIE = "moovitamix_console"
SESSION_LIFETIME = timedelta(hours=12)
# A person who loses a group at the provider keeps the session until it ends.
PERSON_SESSION_LIFETIME = timedelta(hours=1)
_MAX_COOKIE_LENGTH = 200


@dataclass(frozen=True)
class SessionCookie:
    """The cookie of a new session: 256 random bits, and how long it is valid."""

    token: str = field(repr=False)
    lifetime: timedelta


@dataclass(frozen=True)
class ConsoleSession:
    """A signed-in browser, of an API key or a person. `token` is the cookie, and secret."""

    token: str = field(repr=False)
    key_id: str | None
    person: str | None
    scopes: frozenset[str]
    expires_at: datetime

    @property
    def may_act(self) -> bool:
        """Whether it may start actions."""
        scope: Scope = "console:act"
        return scope in self.scopes

    @property
    def csrf_token(self) -> str:
        """The text that every form of the session must send. Another site cannot know it."""
        return hashlib.sha256(b"form " + self.token.encode()).hexdigest()

    def accepts_form(self, csrf_token: str) -> bool:
        """Whether a form was made for this session."""
        return hmac.compare_digest(csrf_token.encode(), self.csrf_token.encode())


class ConsoleSessions:
    """The sessions in the database. Methods raise DatabaseError.

    A session ends at sign-out, after 12 hours (of a person: one hour), and when its key expires or is revoked.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def open_for_key(self, key_id: str) -> SessionCookie:
        """Start a session of a key."""
        return await self._open(SESSION_LIFETIME, key_id=key_id, person=None, scopes=None)

    async def open_for_person(self, person: Person) -> SessionCookie:
        """Start a session of a person."""
        return await self._open(
            PERSON_SESSION_LIFETIME, key_id=None, person=person.reference, scopes=sorted(person.scopes)
        )

    async def _open(self, lifetime: timedelta, **holder: object) -> SessionCookie:
        token, now = secrets.token_urlsafe(32), self._clock()
        parameters = {"session_hash": _hash_of(token), "now": now, "expires_at": now + lifetime}
        await self._database.rows("console/sessions.open_session", parameters | holder)
        return SessionCookie(token, lifetime)

    async def find(self, token: str | None) -> ConsoleSession | None:
        """The session of a cookie, if it is valid now."""
        if not token or len(token) > _MAX_COOKIE_LENGTH:
            return None
        parameters = {"session_hash": _hash_of(token), "now": self._clock()}
        rows = await self._database.rows("console/sessions.find_session", parameters)
        for key_id, person, scopes, expires_at in rows:
            scope: Scope = "console:read"
            if scope in scopes:
                return ConsoleSession(token, key_id, person, frozenset(scopes), expires_at)
        return None

    async def close(self, token: str) -> None:
        """End a session."""
        await self._database.rows("console/sessions.close_session", {"session_hash": _hash_of(token)})


def _hash_of(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
