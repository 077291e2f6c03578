"""Postgres: connections, migrations, and the locks of writers."""

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

# SQLSTATE classes of an unavailable server: 08 is a failed connection, 57P0 a server that stops or starts.
_UNAVAILABLE = ("08", "57P0")
# An error while connecting has no SQLSTATE, only a text.
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

# Names the driver for SQLAlchemy and Great Expectations. A `creator` opens the connections, so it needs no password.
SQLALCHEMY_URL = "postgresql+psycopg://postgres@localhost/postgres"
# The id of the advisory lock of all runs that change the warehouse or compute recommendations from it.
WAREHOUSE_LOCK = 7_300_811_022
# The id of the advisory lock of trainings. A training takes the warehouse lock only when it publishes.
TRAINING_LOCK = 7_300_811_024
# The id of the advisory lock of audits of the stream, which run beside ingests and trainings.
STREAM_AUDIT_LOCK = 7_300_811_026


def ensure_database(settings: Settings) -> str:
    """Start the embedded server if it is in use, and return the URL of the database for the owner of the schema.

    Raises DatabaseError. Raises SettingsError if the settings have only logins of single roles.
    """
    if settings.embedded:
        return embedded_postgres.start(settings.data_dir, tcp_access_of(settings))
    if not settings.database_url.get_secret_value():
        raise SettingsError("wrong setting: DATABASE_URL is empty; set it to the login that owns the schema")
    return settings.database_url.get_secret_value()


def connect(
    url: str, *, autocommit: bool = True, settings: Mapping[str, str] | None = None, **keywords: Any
) -> Connection:
    """Open a connection with the session settings of `core.sessions`. `settings` override its DEFAULTS.

    `keywords` are arguments of psycopg, such as `keepalives_idle`. With autocommit, only
    `with connection.transaction()` opens a transaction. Raises DatabaseError.
    """
    with readable_errors():
        return open_connection(
            url, autocommit=autocommit, settings=settings, connect_timeout=10, application_name="moovitamix", **keywords
        )


@contextmanager
def readable_errors() -> Iterator[None]:
    """Turn errors of Postgres and of the network into one line with the next action. Raises DatabaseError.

    The line omits a server message that could quote a value of a row.
    """
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        message = (error.diag.message_primary or "permission denied").strip()
        raise DatabaseError(f"the database role lacks a right: {message}; grant it, then run again") from error
    except psycopg.errors.DiskFull as error:
        raise DatabaseFull(_NO_SPACE) from error
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise DatabaseError(
            "Postgres takes no writes: it is a standby, or its transaction is read-only; set DATABASE_URL to the "
            "primary, then run again"
        ) from error
    except UnfitDatabase as error:
        raise DatabaseError(str(error)) from error
    except psycopg.OperationalError as error:
        raise _connection_error(error) from error
    except psycopg.Error as error:
        error_type = f"{type(error).__name__}, {error.sqlstate}" if error.sqlstate else type(error).__name__
        raise StatementRefused(f"Postgres refused a statement ({error_type}); see its log") from error


def login_refusal(error: psycopg.OperationalError) -> str:
    """Why Postgres refuses the login, or an empty text if the error has another cause. A retry does not help."""
    match = _REFUSED.search(" ".join(str(error).split()))
    return (match[1] or match[2]) if match else ""


def _connection_error(error: psycopg.OperationalError) -> DatabaseError:
    message = " ".join(str(error).split()) or type(error).__name__
    if missing_role := _LACKS_ROLE.search(message):
        return DatabaseError(f"the login lacks a role: {missing_role[1]}; grant it, then run again")
    if refusal := login_refusal(error):
        return LoginRefused(
            f"Postgres refuses the login: {refusal}; check DATABASE_URL, or the URL of this "
            f"part's own login{honoured_variables(message)}, then run again"
        )
    if _FULL.search(message):
        return DatabaseFull(_NO_SPACE)
    unavailable = error.sqlstate is None or error.sqlstate.startswith(_UNAVAILABLE)
    error_type = DatabaseUnavailable if unavailable else DatabaseError
    return error_type(
        f"Postgres cannot be reached or gave up: {message}; "
        f"check DATABASE_URL{honoured_variables(message)}, then run again"
    )


def migrate(url: str) -> None:
    """Apply the missing migrations of `sql/migrations` in one transaction. A second call changes nothing.

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
    """The version of the newest migration."""
    return max(path.name.partition("_")[0] for path in (SQL_FOLDER / "migrations" / "versions").glob("[0-9]*_*.py"))


def take_warehouse_lock(connection: Connection, wait_seconds: float) -> None:
    """Take the warehouse lock until the connection closes. If the connection breaks, Postgres releases the lock.

    Raises AlreadyRunning if another run holds the lock for longer than `wait_seconds`. Raises DatabaseError.
    """
    _take_lock(connection, WAREHOUSE_LOCK, wait_seconds, "another run is at work")


@contextmanager
def warehouse_lock(connection: Connection, wait_seconds: float) -> Iterator[None]:
    """Hold the warehouse lock during the block. Raises AlreadyRunning, DatabaseError."""
    take_warehouse_lock(connection, wait_seconds)
    try:
        yield
    finally:
        with suppress(psycopg.Error):  # a broken connection has released the lock
            connection.execute("select pg_advisory_unlock(%s)", [WAREHOUSE_LOCK])


def take_training_lock(connection: Connection, wait_seconds: float) -> None:
    """Take the training lock until the connection closes. Raises AlreadyRunning, DatabaseError."""
    _take_lock(connection, TRAINING_LOCK, wait_seconds, "another training is at work")


def take_stream_audit_lock(connection: Connection, wait_seconds: float) -> None:
    """Take the lock of audits of the stream until the connection closes. Raises AlreadyRunning, DatabaseError."""
    _take_lock(connection, STREAM_AUDIT_LOCK, wait_seconds, "another audit of the stream is at work")


def _take_lock(connection: Connection, lock_id: int, wait_seconds: float, conflict: str) -> None:
    deadline = time.monotonic() + wait_seconds
    while not _try_lock(connection, lock_id):
        if time.monotonic() >= deadline:
            raise AlreadyRunning(f"{conflict} (waited {wait_seconds:g} s); wait for it, or raise LOCK_WAIT_SECONDS")
        time.sleep(0.5)


@readable_errors()
def _try_lock(connection: Connection, lock_id: int) -> bool:
    row = connection.execute("select pg_try_advisory_lock(%s)", [lock_id]).fetchone()
    return bool(row and row[0])
