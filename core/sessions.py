"""Configures every session with Postgres, and the environment of every Postgres program.

Formats, encoding, time zone, search path, planner limits and write access are the same on every connection. They do
not depend on libpq's environment variables, a service file, or the defaults of a database or role.

- `open_connection` connects; `configure_connection` configures a connection of a pool.
- `client_target` and `client_environment` are for psql, pg_dump and pg_restore.
- `server_environment` is for the embedded server.

Only `DATABASE_URL` chooses the server, the database and the login.
See docs/adr/0021-we-configure-every-database-session.md.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo
from psycopg.rows import tuple_row

from core.queries import load_query

_FORMATS = {
    "client_encoding": "UTF8",
    "datestyle": "ISO,MDY",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "timezone_abbreviations": "Default",
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "quote_all_identifiers": "off",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "xmlbinary": "base64",
    "xmloption": "content",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "lc_time": "C",
    "gin_fuzzy_search_limit": "0",
}
_ACCESS = {
    "search_path": "pg_catalog,pg_temp",
    "default_transaction_read_only": "off",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "row_security": "on",
    "check_function_bodies": "on",
    "default_table_access_method": "heap",
    "exit_on_error": "off",
    "client_min_messages": "notice",
}
# A login needs a right to set these. `_refuse_unfit` checks their values.
_SUPERUSER_SETTINGS = {"session_replication_role": "origin", "lc_messages": "C"}
_TIMEOUTS = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
}
# Older servers lack these. They are set if the server has them.
_VERSION_DEPENDENT = {"transaction_timeout": "0", "restrict_nonsystem_relation_kind": "", "debug_parallel_query": "off"}
_PLANNER = {
    "geqo": "on",
    "geqo_threshold": "12",
    "from_collapse_limit": "8",
    "join_collapse_limit": "8",
    "plan_cache_mode": "auto",
    "constraint_exclusion": "partition",
    "max_parallel_workers_per_gather": "2",
    "random_page_cost": "1.1",
    "jit": "off",
    "work_mem": "128MB",
    "maintenance_work_mem": "256MB",
    "hash_mem_multiplier": "2",
    "client_connection_check_interval": "5s",
}
# These affect values. Neither a caller nor a URL can change them.
FIXED = _FORMATS | _ACCESS | _SUPERUSER_SETTINGS
# These affect time limits and plans. A caller or the options of a URL can change them.
DEFAULTS = _TIMEOUTS | _VERSION_DEPENDENT | _PLANNER

_SECRETS = ("PGPASSWORD", "PGPASSFILE", "PGSERVICEFILE")
# Variables that secure a connection over a network. They cannot change its target or its content.
_SECURITY = (
    "PGSSLMODE", "PGREQUIRESSL", "PGSSLNEGOTIATION", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "PGSSLCERTMODE",
    "PGSSLCRL", "PGSSLCRLDIR", "PGSSLSNI", "PGSSLMINPROTOCOLVERSION", "PGSSLMAXPROTOCOLVERSION", "PGCHANNELBINDING",
    "PGREQUIREAUTH", "PGREQUIREPEER", "PGGSSENCMODE", "PGKRBSRVNAME", "PGGSSLIB", "PGGSSDELEGATION",
)  # fmt: skip
_HONOURED = frozenset(_SECRETS + _SECURITY)
_OPTION = re.compile(r"(?:-c\s*|--)([\w.]+)=((?:\\.|\S)*)")
# The security options of a connection over a socket of this machine.
_SOCKET_SECURITY = {
    "sslmode": "disable",
    "sslnegotiation": "postgres",
    "sslcertmode": "allow",
    "ssl_min_protocol_version": "",
    "ssl_max_protocol_version": "",
    "channel_binding": "prefer",
    "require_auth": "none,password,md5,scram-sha-256,gss,sspi",
    "requirepeer": "",
    "gssencmode": "disable",
}
# Variables of libpq that are not connection options. libpq sends the first three of them to the server.
_OTHER_VARIABLES = ("PGDATESTYLE", "PGTZ", "PGGEQO", "PGSYSCONFDIR", "PGLOCALEDIR", "PGDATA")
_APPLY_SETTINGS = load_query("session/apply_settings")


class UnfitDatabase(psycopg.OperationalError):
    """The database answers, but would change stored values or accept invalid ones."""


def open_connection(
    url: str, *, autocommit: bool = True, settings: Mapping[str, str] | None = None, **keywords: Any
) -> psycopg.Connection[Any]:
    """Open a connection and configure its session. `settings` override DEFAULTS; options of the URL override both.

    `keywords` are arguments of psycopg. Raises psycopg.Error, and UnfitDatabase if the database must not be used.
    """
    forget_environment()
    connection = psycopg.connect(url, autocommit=True, **connection_keywords(url), **keywords)
    try:
        with connection.cursor(row_factory=tuple_row) as cursor:
            cursor.execute(_lift_time_limits(connection.info), prepare=False)
            cursor.execute(_APPLY_SETTINGS, _session_settings(url, settings or {}), prepare=False)
            _refuse_unfit(connection.info, dict(cursor.fetchall()))
    except BaseException:
        connection.close()
        raise
    connection.autocommit = autocommit
    return connection


async def configure_connection(connection: psycopg.AsyncConnection[Any], url: str, settings: Mapping[str, str]) -> None:
    """Configure the session of a new connection in autocommit, as `open_connection` does. Closes it on failure.

    Raises psycopg.Error, and UnfitDatabase if the database must not be used.
    """
    try:
        async with connection.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(_lift_time_limits(connection.info), prepare=False)
            await cursor.execute(_APPLY_SETTINGS, _session_settings(url, settings), prepare=False)
            _refuse_unfit(connection.info, dict(await cursor.fetchall()))
    except BaseException:
        await connection.close()
        raise


def forget_environment() -> None:
    """Remove libpq's variables from the environment of this process, except those of secrets and network security.

    The options of a connection cannot override all variables: an invalid `PGSERVICE` or `PGTZ` makes it fail.
    """
    names = [option.envvar.decode() for option in Conninfo.get_defaults() if option.envvar]
    for name in {*names, *_OTHER_VARIABLES} - _HONOURED:
        os.environ.pop(name, None)


def client_environment(url: str) -> dict[str, str]:
    """The environment of psql, pg_dump or pg_restore: that of this process without libpq's variables.

    It holds the password of `url`. Pass `client_target(url)`, which has the other options, as an argument.
    """
    parts = _parts(url)
    allowed = _SECRETS if _is_local(parts) else _HONOURED
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG") or name in allowed}
    environment |= {"PGCLIENTENCODING": "UTF8", "PGAPPNAME": "moovitamix"}
    if parts.get("password"):
        environment["PGPASSWORD"] = parts["password"]
    return environment


def client_target(url: str, server_version: int = 150_000) -> str:
    """The connection string of psql, pg_dump or pg_restore, with our session settings and without the password.

    `server_version` is a number as in `connection.info.server_version`. A server refuses settings that it lacks.
    """
    parts = _parts(url)
    parts.pop("password", None)
    defaults = _TIMEOUTS | ({"transaction_timeout": "0"} if server_version >= 170_000 else {})
    options = _options(defaults), parts.get("options", ""), _options(_FORMATS | _ACCESS)
    return make_conninfo(**parts | {"options": " ".join(filter(None, options)), "client_encoding": "UTF8"})


def server_environment() -> dict[str, str]:
    """The environment of initdb, pg_ctl and the server: without variables of Postgres, language and time zone."""
    removed = ("PG", "LC_", "LANG", "TZ")
    return {name: value for name, value in os.environ.items() if not name.startswith(removed)} | {"LC_ALL": "C"}


def honoured_variables(error: str) -> str:
    """The end of a message about a failed connection: libpq's variables that applied to it. Empty if there are none."""
    names = _SECRETS if 'on socket "' in error else (*_SECRETS, *_SECURITY)
    variables = [name for name in names if os.environ.get(name)]
    return f" (the environment sets {', '.join(variables)})" if variables else ""


def _parts(url: str) -> dict[str, str]:
    return {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}


def _is_local(parts: Mapping[str, str]) -> bool:
    """Whether a URL names only sockets of this machine."""
    if parts.get("service"):
        return False
    hosts = parts.get("host", "").split(",")
    return not parts.get("hostaddr") and all(host.startswith(("/", "@")) or not host for host in hosts)


def _options(settings: Mapping[str, str]) -> str:
    """The settings in the format of libpq's `options`: a space within a value is escaped."""
    escaped = {name: re.sub(r"([\\\s])", r"\\\1", value) for name, value in settings.items()}
    return " ".join(f"-c {name}={value}" for name, value in escaped.items())


def connection_keywords(url: str) -> dict[str, Any]:
    """The arguments of a connection besides its URL. On a socket, they override the security variables of libpq."""
    parts = _parts(url)
    keywords: dict[str, Any] = {"client_encoding": "UTF8"}
    if _is_local(parts):
        options = {
            option.keyword.decode() for option in Conninfo.get_defaults() if (option.envvar or b"") in os.environb
        }
        keywords |= {name: value for name, value in _SOCKET_SECURITY.items() if name in options and name not in parts}
    return keywords


def _lift_time_limits(info: psycopg.ConnectionInfo) -> LiteralString:
    """The first statement. Otherwise, a default limit of 1 ms would cancel the statement that applies the settings."""
    if info.server_version >= 170_000:
        return "set statement_timeout = 0; set transaction_timeout = 0"
    return "set statement_timeout = 0"


def _session_settings(url: str, settings: Mapping[str, str]) -> dict[str, Sequence[str]]:
    """The parameters of `session/apply_settings`.

    They repeat the options of the URL, including a role, because a connection pooler may have dropped them.
    """
    options = _OPTION.findall(_parts(url).get("options", ""))
    url_settings = {name.lower(): re.sub(r"\\(.)", r"\1", value) for name, value in options}
    repeated = {
        name: value for name, value in url_settings.items() if name in DEFAULTS or name.startswith(("role", "enable_"))
    }
    session = {**DEFAULTS, **settings, **repeated, **FIXED}
    return {"names": list(session), "values": list(session.values()), "superuser": list(_SUPERUSER_SETTINGS)}


def _refuse_unfit(info: psycopg.ConnectionInfo, session: Mapping[str, str]) -> None:
    """Raises UnfitDatabase if the session would not preserve values, or would not check foreign keys."""
    database = f'the database "{info.dbname}" on {info.host or "this machine"}, port {info.port},'
    if (encoding := session["server_encoding"]) != "UTF8":
        raise UnfitDatabase(
            f"{database} has the encoding {encoding}, but must have UTF8; create another with "
            "create database moovitamix encoding 'UTF8' locale 'C' template template0, and set DATABASE_URL to it"
        )
    if (role := session["session_replication_role"]) != "origin":
        raise UnfitDatabase(
            f"{database} gives this login session_replication_role = {role}, so foreign keys are not checked; "
            "remove it with alter role or alter database ... reset session_replication_role, then run again"
        )
