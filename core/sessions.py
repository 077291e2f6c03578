"""Every session with Postgres, and the environment of every program of Postgres: the one place where both are set.

Values, formats, encoding, time zone, search path, planner limits and write access are ours on every connection,
whatever libpq's environment variables, a service file, or the defaults of a database or role say. `open_connection` and
`open_async_connection` make connections, `client_target` and `client_environment` start psql, pg_dump and pg_restore,
`server_environment` starts the embedded server. Nothing else in the project connects: a test looks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_FORMATS = {
    "client_encoding": "UTF8",
    "DateStyle": "ISO,MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
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
FIXED: Mapping[str, str] = _FORMATS | _ACCESS | _OF_SUPERUSERS
# What decides over time and plans: a caller or the options of a URL may say otherwise.
DEFAULTS: Mapping[str, str] = _TIMEOUTS | _OF_SOME_VERSIONS | _PLANNER

_SECRETS = ("PGPASSWORD", "PGPASSFILE", "PGSERVICEFILE")
# How a connection over a network is secured: they can refuse one, and not change where it leads or what it carries.
_SECURITY = (
    "PGSSLMODE", "PGREQUIRESSL", "PGSSLNEGOTIATION", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "PGSSLCERTMODE",
    "PGSSLCRL", "PGSSLCRLDIR", "PGSSLSNI", "PGSSLMINPROTOCOLVERSION", "PGSSLMAXPROTOCOLVERSION", "PGCHANNELBINDING",
    "PGREQUIREAUTH", "PGREQUIREPEER", "PGGSSENCMODE", "PGKRBSRVNAME", "PGGSSLIB", "PGGSSDELEGATION",
)  # fmt: skip
_HONOURED = frozenset(_SECRETS + _SECURITY)
_OPTION = re.compile(r"(?:-c\s*|--)([\w.]+)=((?:\\.|\S)*)")


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
