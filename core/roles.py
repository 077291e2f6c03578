"""Who a part of the system is in the database: a role that may do its part and no more, from the first statement on.

The roles are made by `sql/roles/create_roles.sql`, their rights by migrations; `sql/rights.yaml` has all of them.
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

Role = Literal["moovitamix_ingest", "moovitamix_recommender", "moovitamix_serving", "moovitamix_analyst"]
INGEST: Role = "moovitamix_ingest"
RECOMMENDER: Role = "moovitamix_recommender"
SERVING: Role = "moovitamix_serving"
ANALYST: Role = "moovitamix_analyst"
ROLES: tuple[Role, ...] = get_args(Role)

_SHOWN = 5
_AS_OWNER = "with the login that owns the schema: DATABASE_URL=... python -m core.migrate"


def ensure_schema_for_role(settings: Settings, role: Role) -> str:
    """A URL whose connections are in the role, of a database whose schema is up to date.

    It is the role's own login where the settings name one, else the owner's, who takes the role. The schema is brought
    up to date where the settings name its owner; where they do not, one that is not raises DatabaseError.
    Raises AlreadyRunning when a run at work keeps the schema from being changed.
    """
    own = _own_login(settings, role)
    if settings.embedded or settings.database_url.get_secret_value() or not own:
        owner = ensure_schema(settings)
        return in_role(own or owner, role)
    url = in_role(own, role)
    if not _is_migrated(url):
        raise DatabaseError(f"the schema is not of this version; bring it up to date {_AS_OWNER}")
    return url


def ensure_schema(settings: Settings) -> str:
    """The owner's URL, with the schema of today. A run at work is waited for only where the schema must change.

    Raises DatabaseError, AlreadyRunning.
    """
    url = ensure_database(settings)
    with connect(url) as connection:
        try:
            if not is_migrated(connection):
                with warehouse_lock(connection, settings.lock_wait_seconds):
                    migrate(url)
        except DatabaseError as error:
            if not _lacks_a_right(error):
                raise
            raise DatabaseError(
                f"this login cannot bring the schema up to date: {_what_is_lacking(error)}; do so {_AS_OWNER}"
            ) from error
    return url


def in_role(url: str, role: Role) -> str:
    """The same database, each connection in the role."""
    options = str(conninfo_to_dict(url).get("options") or "")
    return make_conninfo(url, options=f"{options} -c role={role}".lstrip())


def login_url(settings: Settings) -> str:
    """The URL of a login that the settings name, to look whether the database is well; empty with the embedded one."""
    urls = (settings.database_url, settings.ingest_database_url, settings.recommender_database_url)
    return next((url.get_secret_value() for url in urls if url.get_secret_value()), "")


def _own_login(settings: Settings, role: Role) -> str:
    logins = {INGEST: settings.ingest_database_url, RECOMMENDER: settings.recommender_database_url}
    return logins[role].get_secret_value() if role in logins else ""


def _is_migrated(url: str) -> bool:
    with connect(url) as connection:
        try:
            return is_migrated(connection)
        except DatabaseError as error:
            if _lacks_a_right(error):  # the rights are not there yet
                return False
            raise


def _lacks_a_right(error: DatabaseError) -> bool:
    return isinstance(error.__cause__, psycopg.errors.InsufficientPrivilege)


def _what_is_lacking(error: DatabaseError) -> str:
    """In the server's words."""
    cause = error.__cause__
    return (cause.diag.message_primary if isinstance(cause, psycopg.Error) else None) or "permission denied"


@readable_errors()
def refuse_foreign_code(connection: Connection) -> None:
    """Raise DatabaseError if our schemas contain code that no migration made and that would run as the caller.

    The owner checks this before it uses tables that roles own. Lock the tables before checking them, so that no other
    role can alter them in between.
    """
    found = [name for (name,) in connection.execute(load_query("roles/find_foreign_code"))]
    if found:
        raise DatabaseError(foreign_code_error(found))


def foreign_code_error(found: Sequence[str]) -> str:
    """What is said of things that no migration made."""
    return (
        f"no migration made {', '.join(found[:_SHOWN])}{' and more' if len(found) > _SHOWN else ''}, and it could run "
        "with the owner's rights; see who made it and drop it, then run again"
    )
