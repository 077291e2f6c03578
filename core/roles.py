"""The database role of each part of the system. A connection has its role from the first statement on.

`sql/roles/create_roles.sql` creates the roles, and migrations grant their rights. `sql/rights.yaml` lists all rights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from core.database import Connection, connect, ensure_database, is_migrated, migrate, readable_errors, warehouse_lock
from core.errors import DatabaseError
from core.queries import load_query
from core.settings import Settings

Role = Literal[
    "moovitamix_ingest", "moovitamix_recommender", "moovitamix_serving", "moovitamix_analyst", "moovitamix_stream"
]
INGEST: Role = "moovitamix_ingest"
RECOMMENDER: Role = "moovitamix_recommender"
SERVING: Role = "moovitamix_serving"
ANALYST: Role = "moovitamix_analyst"
STREAM: Role = "moovitamix_stream"
ROLES: tuple[Role, ...] = get_args(Role)

_NAMES_IN_MESSAGE = 5
_AS_OWNER = "with the login that owns the schema: DATABASE_URL=... python -m core.migrate"


def ensure_schema_for_role(settings: Settings, role: Role) -> str:
    """Migrate the schema if the settings name its owner. Return a URL whose connections have the role.

    The URL has the role's own login if the settings name one, otherwise the owner's login. Raises DatabaseError if the
    schema is outdated and the settings do not name its owner, AlreadyRunning if a run prevents the migration.
    """
    role_login = _login_of(settings, role)
    if settings.embedded or settings.database_url.get_secret_value() or not role_login:
        owner_login = ensure_schema(settings)
        return in_role(role_login or owner_login, role)
    url = in_role(role_login, role)
    if not _is_migrated(url):
        raise DatabaseError(f"the schema is not of this version; bring it up to date {_AS_OWNER}")
    return url


def ensure_schema(settings: Settings) -> str:
    """Migrate the schema if it is outdated, and return the owner's URL. Only a migration waits for a run in progress.

    Raises DatabaseError, AlreadyRunning.
    """
    url = ensure_database(settings)
    with connect(url) as connection:
        try:
            if not is_migrated(connection):
                with warehouse_lock(connection, settings.lock_wait_seconds):
                    migrate(url)
        except DatabaseError as error:
            if not _is_missing_right(error):
                raise
            raise DatabaseError(
                f"this login cannot bring the schema up to date: {_server_message(error)}; do so {_AS_OWNER}"
            ) from error
    return url


def has_login(settings: Settings, role: Role) -> bool:
    """Whether the settings name a database and a login that has the role: its own, or the owner's."""
    return bool(settings.database_url.get_secret_value() or _login_of(settings, role))


def in_role(url: str, role: Role) -> str:
    """The URL with the role set for each connection."""
    options = str(conninfo_to_dict(url).get("options") or "")
    return make_conninfo(url, options=f"{options} -c role={role}".lstrip())


def login_url(settings: Settings) -> str:
    """The first login in the settings, for health checks; empty with the embedded database."""
    urls = (settings.database_url, settings.ingest_database_url, settings.recommender_database_url)
    return next((url.get_secret_value() for url in urls if url.get_secret_value()), "")


def _login_of(settings: Settings, role: Role) -> str:
    logins = {
        INGEST: settings.ingest_database_url,
        RECOMMENDER: settings.recommender_database_url,
        STREAM: settings.stream_database_url,
    }
    return logins[role].get_secret_value() if role in logins else ""


def _is_migrated(url: str) -> bool:
    with connect(url) as connection:
        try:
            return is_migrated(connection)
        except DatabaseError as error:
            if _is_missing_right(error):  # a later migration grants it
                return False
            raise


def _is_missing_right(error: DatabaseError) -> bool:
    return isinstance(error.__cause__, psycopg.errors.InsufficientPrivilege)


def _server_message(error: DatabaseError) -> str:
    cause = error.__cause__
    return (cause.diag.message_primary if isinstance(cause, psycopg.Error) else None) or "permission denied"


@readable_errors()
def refuse_foreign_code(connection: Connection) -> None:
    """Raise DatabaseError if our schemas contain code that no migration made and that would run as the caller.

    The owner checks this before it uses tables that roles own. Lock the tables before checking them, so that no other
    role can alter them in between.
    """
    names = [name for (name,) in connection.execute(load_query("roles/find_foreign_code"))]
    if names:
        raise DatabaseError(foreign_code_error(names))


def foreign_code_error(names: Sequence[str]) -> str:
    """The error message for objects that no migration made."""
    suffix = " and more" if len(names) > _NAMES_IN_MESSAGE else ""
    return (
        f"no migration made {', '.join(names[:_NAMES_IN_MESSAGE])}{suffix}, and it could run with the owner's rights; "
        "see who made it and drop it, then run again"
    )
