"""Our session settings apply whatever the environment, the database or the role says. Tested on a real server."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.pq import Conninfo

import core.migrate
from core import embedded_postgres
from core.database import connect, migrate
from core.errors import DatabaseError
from core.roles import SERVING, in_role
from core.sessions import (
    DEFAULTS,
    FIXED,
    UnfitDatabase,
    client_environment,
    client_target,
    open_connection,
    server_environment,
)
from serving import keys
from tests.conftest import ROOT
from tests.hostile_settings import DATABASE_DEFAULTS, LIBPQ_VARIABLES, TLS_VARIABLES

_DRIVERS = ("psycopg", "psycopg_pool", "sqlalchemy", "sa", "asyncpg")
_OPENERS = re.compile(r"connect|create_\w*engine|\w*ConnectionPool|add_postgres|engine_from_config")
_PROGRAMS = re.compile(r"\b(?:psql|pg_\w+|initdb|createdb|dropdb|postgres)\b")
# The code that opens connections, and the engines and pools that get connections from it.
_ALLOWED = {
    ("core/sessions.py", "psycopg.connect"),
    ("core/database.py", "sqlalchemy.create_engine"),
    ("serving/database.py", "AsyncConnectionPool"),
    ("expectations/checkpoint.py", "self._context.data_sources.add_postgres"),
}
# Settings that have no second value in the test database.
_SINGLE_VALUED = {"lc_monetary", "lc_numeric", "lc_time", "lc_messages", "default_table_access_method"}
# Overrides with which the test can prepare the hostile database.
_OVERRIDES = {
    "search_path": "pg_catalog",
    "statement_timeout": "0",
    "transaction_timeout": "0",
    "idle_session_timeout": "0",
    "default_transaction_read_only": "off",
    "exit_on_error": "off",
    "session_replication_role": "origin",
}


def test_the_hostile_variables_cover_all_variables_of_libpq() -> None:
    named = {option.envvar.decode() for option in Conninfo.get_defaults() if option.envvar}
    assert named <= LIBPQ_VARIABLES.keys()


@pytest.mark.parametrize(
    "names", [*([name] for name in LIBPQ_VARIABLES), list(LIBPQ_VARIABLES)], ids=lambda names: names[-1]
)
def test_no_variable_of_libpq_reaches_a_connection_or_a_program(
    names: list[str], postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in names:
        monkeypatch.setenv(name, LIBPQ_VARIABLES[name])
    target, environment = client_target(postgres), client_environment(postgres)
    query = "select current_setting('DateStyle'), current_setting('TimeZone'), current_user, current_database()"
    with open_connection(postgres) as connection:
        assert connection.execute(query).fetchone() == ("ISO, MDY", "UTC", "postgres", "postgres")
    assert "PGPORT" not in os.environ
    command = [embedded_postgres.programs_folder() / "psql", "-X", "-A", "-t", "-c", query, target]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("ISO, MDY|UTC|postgres|postgres\n", "")


def test_the_caller_still_chooses_password_file_and_network_security(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LIBPQ_VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LC_ALL", "C")
    inside = {name for name in client_environment("postgresql://u:secret@db/d") if name.startswith("PG")}
    assert inside == {"PGPASSWORD", "PGPASSFILE", "PGSERVICEFILE", "PGCLIENTENCODING", "PGAPPNAME", *TLS_VARIABLES}
    assert client_environment("postgresql://u:secret@db/d")["PGPASSWORD"] == "secret"
    assert "secret" not in client_target("postgresql://u:secret@db/d")
    assert not [name for name in server_environment() if name.startswith("PG")]
    statement_refused = {}
    for url in ("postgresql://u@127.0.0.1:1/d", "postgresql://u@/d?host=/nowhere"):
        with pytest.raises(psycopg.OperationalError) as error:
            open_connection(url)
        statement_refused[url] = str(error.value)
    assert "/nowhere/.s.PGSQL.5432" in statement_refused["postgresql://u@/d?host=/nowhere"]
    expected = {"PGPASSWORD", "PGPASSFILE", "PGSERVICEFILE", *TLS_VARIABLES}
    assert {name for name in os.environ if name.startswith("PG")} == expected


@pytest.fixture(scope="module")
def hostile(postgres: str) -> Iterator[str]:
    """A database whose defaults differ from ours in every setting that has a second value."""
    with open_connection(postgres) as server:
        server.execute("create database hostile")
        for name, value in DATABASE_DEFAULTS.items():
            text = sql.SQL("alter database hostile set {} = {}")
            server.execute(text.format(sql.Identifier(name), sql.SQL(value)))
    yield postgres.replace("/postgres?", "/hostile?")
    with open_connection(postgres) as server:
        server.execute("drop database hostile with (force)")


def test_each_of_our_settings_has_a_hostile_default() -> None:
    assert {**FIXED, **DEFAULTS}.keys() - _SINGLE_VALUED <= DATABASE_DEFAULTS.keys()


def test_no_default_of_a_database_changes_a_session(hostile: str, postgres: str) -> None:
    """Every setting that a user may change is as in a database without defaults, even if names are shadowed."""
    options = " ".join(f"-c {name}={value}" for name, value in _OVERRIDES.items())
    with psycopg.connect(hostile, autocommit=True, options=options) as evil:
        evil.execute("create schema evil")
        evil.execute("create function evil.eq(text, text) returns boolean language sql as $$ select false $$")
        evil.execute("create operator evil.= (leftarg = text, rightarg = text, function = evil.eq)")
        evil.execute(
            "create function evil.set_config(text, text, boolean) returns text language sql as $$ select 'evil' $$"
        )
        evil.execute("create view evil.pg_settings as select 'geqo'::text as name")
    query = (
        "select name, pg_catalog.current_setting(name) from pg_catalog.pg_settings"
        " where context in ('user', 'superuser') order by name"
    )
    for autocommit in (True, False):
        with open_connection(hostile, autocommit=autocommit) as connection, open_connection(postgres) as neutral:
            assert connection.autocommit is autocommit
            assert connection.execute(query).fetchall() == neutral.execute(query).fetchall()


def test_a_login_without_rights_is_refused_where_triggers_are_off(hostile: str, postgres: str) -> None:
    with open_connection(postgres) as server:
        server.execute("create role plain_login login")
    try:
        url = hostile.replace("//postgres@", "//plain_login@")
        with pytest.raises(DatabaseError, match="session_replication_role = replica, so foreign keys are not"):
            connect(url)
        with open_connection(postgres) as server:
            server.execute("alter database hostile reset session_replication_role")
        with connect(url) as connection:
            assert connection.execute("show datestyle").fetchone() == ("ISO, MDY",)
    finally:
        with open_connection(postgres) as server:
            server.execute("drop role plain_login")


def test_a_url_keeps_its_role_and_its_plans_but_not_its_formats(database: str) -> None:
    url = f"{database}&options=-c%20enable_seqscan%3Doff%20-c%20work_mem%3D5MB%20-c%20DateStyle%3DGerman"
    with connect(in_role(url, SERVING), settings={"work_mem": "7MB", "lock_timeout": "3s"}) as connection:
        for name, value in {
            "role": SERVING, "enable_seqscan": "off", "work_mem": "5MB", "datestyle": "ISO, MDY", "lock_timeout": "3s",
        }.items():  # fmt: skip
            assert connection.execute("select current_setting(%s)", [name]).fetchone() == (value,)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_JP"])
def test_a_database_that_is_not_utf8_is_refused(
    encoding: str,
    postgres: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = f"in_{encoding.lower()}"
    url = postgres.replace("/postgres?", f"/{name}?")
    with open_connection(postgres) as server:
        server.execute(f"create database {name} template template0 encoding '{encoding}' locale 'C'")
    message = (
        f'the database "{name}" on .*, port 5432, has the encoding {encoding}, but must have UTF8; create another with'
    )
    try:
        with pytest.raises(UnfitDatabase, match=message):
            open_connection(url)
        for function in (connect, migrate):
            with pytest.raises(DatabaseError, match=message):
                function(url)
        monkeypatch.setenv("DATABASE_URL", url)
        monkeypatch.setenv("DATA_DIR", str(tmp_path))
        assert core.migrate.main([]) == 1
        monkeypatch.setattr("sys.argv", ["keys", "list"])
        assert keys.main() == 1
        err = capsys.readouterr().err
        assert len(re.findall(message, err)) == 2
        assert err.count("\n") == 2
    finally:
        with open_connection(postgres) as server:
            server.execute(f"drop database {name} with (force)")


def test_a_migration_on_a_standby_fails_with_a_clear_message() -> None:
    """It is a real standby, which accepts queries."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    folder.chmod(0o755)
    try:
        embedded_postgres.start(folder)
        embedded_postgres.stop_if_unused(folder)
        with (folder / "postgres" / "postgresql.conf").open("a") as configuration:
            configuration.write("wal_level = replica\n")
        embedded_postgres.start(folder)
        embedded_postgres.stop_if_unused(folder)
        (folder / "postgres" / "standby.signal").touch()
        url = embedded_postgres.start(folder)
        with connect(url) as connection:
            assert connection.execute("select pg_is_in_recovery()").fetchone() == (True,)
        with pytest.raises(DatabaseError, match=r"^Postgres takes no writes: it is a standby, or"):
            migrate(url)
    finally:
        embedded_postgres.stop_if_unused(folder)
        shutil.rmtree(folder)


def test_only_the_session_module_opens_connections() -> None:
    """All code connects through `core.sessions`, and passes an environment to each program of Postgres."""
    openers, calls_without_environment = set(), []
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT)
        if name.parts[0] in ("tests", ".venv") or name.parts[0].startswith("."):
            continue
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in _DRIVERS:
                openers |= {(str(name), a.name) for a in node.names if a.name in ("connect", "create_engine")}
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            base, _, last = called.rpartition(".")
            driver = not base or base.partition(".")[0] in _DRIVERS or last == "add_postgres"
            if _OPENERS.fullmatch(last) and driver and called != "connect":
                openers.add((str(name), called))
            text = ast.unparse(node)
            if base == "subprocess" and _PROGRAMS.search(text) and "env=" not in text and "--version" not in text:
                calls_without_environment.append(f"{name}:{node.lineno}")
    assert openers == _ALLOWED
    assert calls_without_environment == []
