"""Every session with Postgres, and the environment of every program of Postgres: the one place that sets both up.

Values, formats, encoding, time zone, search path, planner limits and write access are ours on every connection,
whatever libpq's environment variables, a service file, or the defaults of a database or role say:

- `open_connection` connects, `configure_connection` sets up the connections of a pool;
- `client_target` and `client_environment` are for psql, pg_dump and pg_restore;
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
# These a login may set only with a right; `_refuse` looks at what they are.
_OF_SUPERUSERS = {"session_replication_role": "origin", "lc_messages": "C"}
_TIMEOUTS = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
}
# A server may be too old for these; they are set where it has them.
_OF_SOME_VERSIONS = {"transaction_timeout": "0", "restrict_nonsystem_relation_kind": "", "debug_parallel_query": "off"}
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
# What decides over values: neither a caller nor a URL says otherwise.
FIXED = _FORMATS | _ACCESS | _OF_SUPERUSERS
# What decides over time and plans: a caller or the options of a URL may say otherwise.
DEFAULTS = _TIMEOUTS | _OF_SOME_VERSIONS | _PLANNER

_SECRETS = ("PGPASSWORD", "PGPASSFILE", "PGSERVICEFILE")
# How a connection over a network is secured: they can refuse one, and not change where it leads or what it carries.
_SECURITY = (
    "PGSSLMODE", "PGREQUIRESSL", "PGSSLNEGOTIATION", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "PGSSLCERTMODE",
    "PGSSLCRL", "PGSSLCRLDIR", "PGSSLSNI", "PGSSLMINPROTOCOLVERSION", "PGSSLMAXPROTOCOLVERSION", "PGCHANNELBINDING",
    "PGREQUIREAUTH", "PGREQUIREPEER", "PGGSSENCMODE", "PGKRBSRVNAME", "PGGSSLIB", "PGGSSDELEGATION",
)  # fmt: skip
_HONOURED = frozenset(_SECRETS + _SECURITY)
_OPTION = re.compile(r"(?:-c\s*|--)([\w.]+)=((?:\\.|\S)*)")
# What these are where nothing is to be secured: on a socket of this machine.
_UNSECURED = {
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
# Variables that stand for no option of a connection: a startup packet carries the first three all the same.
_NO_OPTIONS = ("PGDATESTYLE", "PGTZ", "PGGEQO", "PGSYSCONFDIR", "PGLOCALEDIR", "PGDATA")
_PIN = load_query("session/apply_settings")


class UnfitDatabase(psycopg.OperationalError):
    """The database answers, and would garble what we store, or take what it must refuse."""


def open_connection(
    url: str, *, autocommit: bool = True, settings: Mapping[str, str] | None = None, **keywords: Any
) -> psycopg.Connection[Any]:
    """A connection whose session is ours. `settings` differ from DEFAULTS; the options of the URL come before them.

    `keywords` are psycopg's own. Raises psycopg.Error; UnfitDatabase where the database must not be used.
    """
    forget_environment()
    connection = psycopg.connect(url, autocommit=True, **connection_keywords(url), **keywords)
    try:
        with connection.cursor(row_factory=tuple_row) as cursor:
            cursor.execute(_in_peace(connection.info), prepare=False)
            cursor.execute(_PIN, _pinned(url, settings or {}), prepare=False)
            _refuse(connection.info, dict(cursor.fetchall()))
    except BaseException:
        connection.close()
        raise
    connection.autocommit = autocommit
    return connection


async def configure_connection(connection: psycopg.AsyncConnection[Any], url: str, settings: Mapping[str, str]) -> None:
    """Make the session of a new connection ours, as `open_connection` does, or close it. It must be in autocommit.

    Raises psycopg.Error; UnfitDatabase where the database must not be used.
    """
    try:
        async with connection.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(_in_peace(connection.info), prepare=False)
            await cursor.execute(_PIN, _pinned(url, settings), prepare=False)
            _refuse(connection.info, dict(await cursor.fetchall()))
    except BaseException:
        await connection.close()
        raise


def forget_environment() -> None:
    """Remove libpq's variables from the environment of this process, except secrets and how a network is secured.

    There is no other way: a `PGSERVICE` that does not exist or a `PGTZ` that is no zone refuses every connection,
    whatever its options are.
    """
    names = [option.envvar.decode() for option in Conninfo.get_defaults() if option.envvar]
    for name in {*names, *_NO_OPTIONS} - _HONOURED:
        os.environ.pop(name, None)


def client_environment(url: str) -> dict[str, str]:
    """The environment of psql, pg_dump or pg_restore for the database at `url`: the caller's without libpq's variables.

    The password of the URL is in it. Give the program `client_target(url)`, which has the rest.
    """
    parts = _parts(url)
    kept = _SECRETS if _is_local(parts) else _HONOURED
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG") or name in kept}
    environment |= {"PGCLIENTENCODING": "UTF8", "PGAPPNAME": "moovitamix"}
    if parts.get("password"):
        environment["PGPASSWORD"] = parts["password"]
    return environment


def client_target(url: str, server_version: int = 150_000) -> str:
    """The database at `url` for one of those programs, with our settings of a session, and without the password.

    `server_version` is as in `connection.info.server_version`: a setting that the server lacks would be refused.
    """
    parts = _parts(url)
    parts.pop("password", None)
    defaults = _TIMEOUTS | ({"transaction_timeout": "0"} if server_version >= 170_000 else {})
    ours = _options(defaults), parts.get("options", ""), _options(_FORMATS | _ACCESS)
    return make_conninfo(**parts | {"options": " ".join(filter(None, ours)), "client_encoding": "UTF8"})


def server_environment() -> dict[str, str]:
    """The environment of initdb, pg_ctl and the server that it starts: nothing of Postgres's or of a language."""
    outside = ("PG", "LC_", "LANG", "TZ")
    return {name: value for name, value in os.environ.items() if not name.startswith(outside)} | {"LC_ALL": "C"}


def honoured_variables(error: str) -> str:
    """Names the variables of libpq that took part where a connection failed, to end a message with; or nothing."""
    names = _SECRETS if 'on socket "' in error else (*_SECRETS, *_SECURITY)
    found = [name for name in names if os.environ.get(name)]
    return f" (the environment has {', '.join(found)} for it)" if found else ""


def _parts(url: str) -> dict[str, str]:
    return {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}


def _is_local(parts: Mapping[str, str]) -> bool:
    """Whether a URL leads to sockets of this machine only."""
    if parts.get("service"):
        return False
    hosts = parts.get("host", "").split(",")
    return not parts.get("hostaddr") and all(host.startswith(("/", "@")) or not host for host in hosts)


def _options(settings: Mapping[str, str]) -> str:
    """As libpq's `options` has them: a space within a value is escaped."""
    escaped = {name: re.sub(r"([\\\s])", r"\\\1", value) for name, value in settings.items()}
    return " ".join(f"-c {name}={value}" for name, value in escaped.items())


def connection_keywords(url: str) -> dict[str, Any]:
    """What a connection is made with besides the URL. Over a socket, no variable decides how it is secured."""
    parts = _parts(url)
    keywords: dict[str, Any] = {"client_encoding": "UTF8"}
    if _is_local(parts):
        named = {option.keyword.decode() for option in Conninfo.get_defaults() if (option.envvar or b"") in os.environb}
        keywords |= {name: value for name, value in _UNSECURED.items() if name in named and name not in parts}
    return keywords


def _in_peace(info: psycopg.ConnectionInfo) -> LiteralString:
    """Lift the limits first: a default of a millisecond would end the statement that sets up the rest."""
    if info.server_version >= 170_000:
        return "set statement_timeout = 0; set transaction_timeout = 0"
    return "set statement_timeout = 0"


def _pinned(url: str, settings: Mapping[str, str]) -> dict[str, Sequence[str]]:
    """The parameters of `session/apply_settings`.

    What the URL asks for is asked again: a pooler may have dropped it, a role even.
    """
    options = _OPTION.findall(_parts(url).get("options", ""))
    asked = {name.lower(): re.sub(r"\\(.)", r"\1", value) for name, value in options}
    again = {name: value for name, value in asked.items() if name in DEFAULTS or name.startswith(("role", "enable_"))}
    pinned = {**DEFAULTS, **settings, **again, **FIXED}
    return {"names": list(pinned), "values": list(pinned.values()), "superuser": list(_OF_SUPERUSERS)}


def _refuse(info: psycopg.ConnectionInfo, session: Mapping[str, str]) -> None:
    """Raises UnfitDatabase where the session is not one that keeps values as they are."""
    where = f'the database "{info.dbname}" on {info.host or "this machine"}, port {info.port},'
    if (encoding := session["server_encoding"]) != "UTF8":
        raise UnfitDatabase(
            f"{where} has the encoding {encoding}, and this needs UTF8; make one with "
            "create database moovitamix encoding 'UTF8' locale 'C' template template0, and name it in DATABASE_URL"
        )
    if (role := session["session_replication_role"]) != "origin":
        raise UnfitDatabase(
            f"{where} gives this login session_replication_role = {role}, with which foreign keys are not checked; "
            "remove it with alter role or alter database ... reset session_replication_role, then run again"
        )
