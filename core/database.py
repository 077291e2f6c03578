"""Postgres: connections, migrations, and the lock that lets one ingest run at a time."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import psycopg

from core import embedded_postgres
from core.errors import (
    AlreadyRunning,
    DatabaseError,
    DatabaseFull,
    DatabaseUnavailable,
    LoginRefused,
    SettingsError,
    StatementRefused,
)
from core.queries import SQL_FOLDER
from core.sessions import UnfitDatabase, honoured_variables, open_connection
from core.settings import Settings
from core.tcp_access import tcp_access_of

# Without a code the connection broke or was never made; of class 08 it did too; 57P0 is a server that stops or starts.
_AWAY = ("08", "57P0")
# A connection that was never made has no code, only words.
_LACKS_ROLE = re.compile(r'FATAL: (permission denied to set role ".*?"|role "moovitamix_\w+" does not exist)')
_REFUSED = re.compile(
    r'FATAL: ((?:\w+ )?authentication failed for user ".*?"'
    r'|(?:role|database) ".*?" (?:does not exist|is not permitted to log in)'
    r'|permission denied for database ".*?"'
    r"|(?:no pg_hba\.conf entry|pg_hba\.conf rejects connection)[^;]*)"
    r"|fe_sendauth: (no password supplied)"
)
_FULL = re.compile("No space left on device|Disk quota exceeded", re.IGNORECASE)
_NO_SPACE = "Postgres has no disk space left; free some, then run again"

Connection = psycopg.Connection[Any]

# What SQLAlchemy and Great Expectations are told: which driver. Connections come from a `creator`, secrets stay out.
SQLALCHEMY_URL = "postgresql+psycopg://postgres@localhost/postgres"
# Any constant: everything that changes the warehouse, or makes lists from it, takes the same one.
WAREHOUSE_LOCK = 7_300_811_022
# One training at a time: it takes long, and needs the warehouse only at its end.
TRAINING_LOCK = 7_300_811_024


def ensure_database(settings: Settings) -> str:
    """The URL of the database as its owner sees it, with the embedded server started if it is the one in use.

    Raises DatabaseError, SettingsError where only logins of single roles are set.
    """
    if settings.embedded:
        return embedded_postgres.start(settings.data_dir, tcp_access_of(settings))
    if not settings.database_url.get_secret_value():
        raise SettingsError("wrong setting: DATABASE_URL is empty, and this needs the login that owns the schema")
    return settings.database_url.get_secret_value()


def connect(url: str, *, autocommit: bool = True, settings: Mapping[str, str] | None = None) -> Connection:
    """A connection whose session `core.sessions` has set up, in UTC; `settings` differ from its DEFAULTS.

    With autocommit, only `with connection.transaction()` groups statements. Raises DatabaseError.
    """
    with readable_errors():
        return open_connection(
            url, autocommit=autocommit, settings=settings, connect_timeout=10, application_name="moovitamix"
        )


@contextmanager
def readable_errors() -> Iterator[None]:
    """Turn what Postgres or the network says into one line a person can act on. Raises DatabaseError.

    The server's message is not repeated where it could quote a value of a row.
    """
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        what = (error.diag.message_primary or "permission denied").strip()
        raise DatabaseError(f"the database role lacks a right: {what}; grant it, then run again") from error
    except psycopg.errors.DiskFull as error:
        raise DatabaseFull(_NO_SPACE) from error
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise DatabaseError(
            "Postgres takes no writes: it is a standby, or its transaction is read-only; let DATABASE_URL name the "
            "primary, then run again"
        ) from error
    except UnfitDatabase as error:
        raise DatabaseError(str(error)) from error
    except psycopg.OperationalError as error:
        raise _without_connection(error) from error
    except psycopg.Error as error:
        kind = f"{type(error).__name__}, {error.sqlstate}" if error.sqlstate else type(error).__name__
        raise StatementRefused(f"Postgres refused a statement ({kind}); see its log") from error


def login_refusal(error: psycopg.OperationalError) -> str:
    """Why Postgres does not take the login, which no waiting mends; empty when it is something else."""
    found = _REFUSED.search(" ".join(str(error).split()))
    return (found[1] or found[2]) if found else ""


def _without_connection(error: psycopg.OperationalError) -> DatabaseError:
    what = " ".join(str(error).split()) or type(error).__name__
    if lacks := _LACKS_ROLE.search(what):
        return DatabaseError(f"the login lacks a role: {lacks[1]}; grant it, then run again")
    if refused := login_refusal(error):
        return LoginRefused(
            f"Postgres refuses the login: {refused}; check DATABASE_URL, or the URL of this "
            f"part's own login{honoured_variables(what)}, then run again"
        )
    if _FULL.search(what):
        return DatabaseFull(_NO_SPACE)
    away = error.sqlstate is None or error.sqlstate.startswith(_AWAY)
    raised = DatabaseUnavailable if away else DatabaseError
    return raised(
        f"Postgres cannot be reached or gave up: {what}; check DATABASE_URL{honoured_variables(what)}, then run again"
    )


def migrate(url: str) -> None:
    """Bring the schema up to date from `sql/migrations`, in one transaction. Running it again changes nothing.

    The caller holds the warehouse lock. Raises DatabaseError.
    """
    import sqlalchemy
    from alembic import command
    from alembic.config import Config

    logging.getLogger("alembic").setLevel(logging.WARNING)
    engine = sqlalchemy.create_engine(
        SQLALCHEMY_URL, creator=lambda: open_connection(url, autocommit=False), poolclass=sqlalchemy.NullPool
    )
    config = Config()
    config.set_main_option("script_location", str(SQL_FOLDER / "migrations").replace("%", "%%"))
    try:
        with readable_errors(), engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except sqlalchemy.exc.DBAPIError as error:
        with readable_errors():
            raise error.orig or error from error


def is_migrated(connection: Connection) -> bool:
    """Whether the schema is up to date."""
    with readable_errors():
        row = connection.execute("select to_regclass('ops.schema_version') is not null").fetchone()
        if not (row and row[0]):
            return False
        return connection.execute("select version_num from ops.schema_version").fetchall() == [(newest_migration(),)]


@cache
def newest_migration() -> str:
    """The version of an up-to-date schema."""
    return max(path.name.partition("_")[0] for path in (SQL_FOLDER / "migrations" / "versions").glob("[0-9]*_*.py"))


def take_warehouse_lock(connection: Connection, wait_seconds: float) -> None:
    """Hold the one lock of all that changes the warehouse, or makes lists from it, for as long as the connection lives.

    No connection, no lock and no writing. Raises AlreadyRunning when another holds it for longer than `wait_seconds`,
    DatabaseError.
    """
    _wait_for(connection, WAREHOUSE_LOCK, wait_seconds, "another run is at work")


@contextmanager
def warehouse_lock(connection: Connection, wait_seconds: float) -> Iterator[None]:
    """Hold that lock for a while only. Raises AlreadyRunning, DatabaseError."""
    take_warehouse_lock(connection, wait_seconds)
    try:
        yield
    finally:
        # When the connection is gone, so is the lock.
        with suppress(psycopg.Error):
            connection.execute("select pg_advisory_unlock(%s)", [WAREHOUSE_LOCK])


def take_training_lock(connection: Connection, wait_seconds: float) -> None:
    """Hold the one lock of all trainings. Raises AlreadyRunning, DatabaseError."""
    _wait_for(connection, TRAINING_LOCK, wait_seconds, "another training is at work")


def _wait_for(connection: Connection, lock: int, wait_seconds: float, what: str) -> None:
    until = time.monotonic() + wait_seconds
    while not _try_lock(connection, lock):
        if time.monotonic() >= until:
            raise AlreadyRunning(f"{what} (waited {wait_seconds:g} s); wait for it, or raise LOCK_WAIT_SECONDS")
        time.sleep(0.5)


@readable_errors()
def _try_lock(connection: Connection, lock: int) -> bool:
    row = connection.execute("select pg_try_advisory_lock(%s)", [lock]).fetchone()
    return bool(row and row[0])
