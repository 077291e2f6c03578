"""Each part of the system with a login that is a member of its role and of nothing else, and a password of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
import yaml
from psycopg import sql

import core.database
from core import embedded_postgres, migrate
from core.clock import utc_now
from core.database import connect, newest_migration
from core.errors import DatabaseError
from core.queries import load_query
from core.roles import ANALYST, INGEST, RECOMMENDER, ROLES, SERVING, ensure_schema_for_role, in_role
from core.settings import Settings, load_settings
from flows import erase, ingest, maintain, monitor, recommend, replay, retrain, rollback
from notifications import health_checks
from pipeline.raw_pages import write_pages
from services import backup
from serving.database import ensure_serving_database
from tests.conftest import ROOT, MockApi, Query
from tests.integration.monitor.test_upgrade import migrate_to
from tests.integration.recommend.test_publications import published, staged
from tests.publications import quick_candidates, quick_settings
from tests.rights import FORBIDDEN, columns_of_relations, rights_of_relations, rights_of_schemas
from tests.warehouse_data import fill_warehouse, two_taste_groups

PASSWORD = "tell-n0-one"
Capture = pytest.CaptureFixture[str]
Logins = Mapping[str, str]


@pytest.fixture(scope="module")
def _logins(postgres: str, _template: str) -> Iterator[Logins]:
    """By role, the name of a login that must give its password: the test's server asks nobody else for one."""
    names = {role: f"login_of_{role.removeprefix('moovitamix_')}" for role in ROLES}
    with psycopg.connect(postgres, autocommit=True) as connection:
        for role, name in names.items():
            texts = sql.Identifier(name), sql.Literal(PASSWORD), sql.Identifier(role)
            connection.execute(sql.SQL("create role {} login password {} in role {}").format(*texts))
        (file,) = connection.execute("show hba_file").fetchone() or ("",)
        before = Path(file).read_text()
        Path(file).write_text(f"local all /^login_of_ scram-sha-256\n{before}")
        connection.execute("select pg_reload_conf()")
        yield names
        Path(file).write_text(before)
        for name in names.values():
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


@pytest.fixture
def logins(_logins: Logins, database: str) -> Logins:
    """By role, the URL of such a login in the test's database."""
    return {
        role: database.replace("postgresql://postgres@", f"postgresql://{name}:{PASSWORD}@")
        for role, name in _logins.items()
    }


@pytest.fixture
def parted(environment: Path, logins: Logins, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings of a test, without the owner's login. Returns the data folder."""
    values = {
        "DATABASE_URL": "",
        "INGEST_DATABASE_URL": logins[INGEST],
        "RECOMMENDER_DATABASE_URL": logins[RECOMMENDER],
        "RETRAIN_SEARCH_SECONDS": "0.001",
        "RECOMMENDATIONS_PER_USER": "10",
        "PUBLICATIONS_KEPT": "2",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return environment


def test_every_table_and_column_is_decided(database: str) -> None:
    """What is not in the catalogue fails here: decide who may do what with it, and write it down."""
    catalogue = yaml.safe_load((ROOT / "sql/rights.yaml").read_text())
    decided = {
        name: {role: text for role, text in rights.items() if role != "columns"}
        for name, rights in catalogue["relations"].items()
    }
    with connect(database) as connection:
        assert rights_of_schemas(connection) == catalogue["schemas"]
        columns = {name: rights["columns"] for name, rights in catalogue["relations"].items()}
        assert columns_of_relations(connection) == columns
        assert rights_of_relations(connection) == decided
        ours = "nspname in ('ops', 'staging', 'warehouse', 'mart', 'ml', 'serving')"
        to_public = connection.execute(
            f"select nspname::text from pg_namespace, aclexplode(nspacl) where {ours} and grantee = 0 union all"
            " select relname from pg_class join pg_namespace as schema on schema.oid = relnamespace,"
            f" aclexplode(relacl) where {ours} and grantee = 0 union all"
            f" select proname from pg_proc join pg_namespace as schema on schema.oid = pronamespace where {ours}"
            " and has_function_privilege('public', pg_proc.oid, 'execute')"
        )
        assert to_public.fetchall() == []


def test_only_ingest_may_see_who_a_listener_is(database: str) -> None:
    personal = {"first_name", "last_name", "email", "raw_json"}
    with connect(database) as connection:
        seen = connection.execute(
            "select role, attname::text from unnest(%s::text[]) as role, pg_attribute"
            " where attnum > 0 and attname = any(%s) and has_column_privilege(role, attrelid, attnum, 'select')",
            [list(ROLES), list(personal)],
        ).fetchall()
    assert {role for role, _ in seen} == {INGEST}
    assert {column for _, column in seen} == personal - {"raw_json"}


@pytest.mark.parametrize("role", ROLES)
def test_what_a_role_may_not(role: str, logins: Logins) -> None:
    everyone = ["set role postgres", *(f"set role {other}" for other in ROLES if other != role), "create schema mine"]
    everyone += ["update ops.schema_version set version_num = '0000'", "create role mine", "alter role postgres login"]
    with psycopg.connect(logins[role], autocommit=True) as connection:
        assert connection.execute("select current_user").fetchone() == (f"login_of_{role.removeprefix('moovitamix_')}",)
        for forbidden in [*FORBIDDEN[role], *everyone]:
            may = False
            with suppress(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden)
                may = True
            assert not may, forbidden


def test_a_wrong_password_and_a_login_of_another_part_are_refused(
    parted: Path, logins: Logins, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url, why in (
        (logins[INGEST].replace(PASSWORD, "guessed"), "password authentication failed"),
        (logins[SERVING], f'permission denied to set role "{INGEST}"'),
    ):
        monkeypatch.setenv("INGEST_DATABASE_URL", url)
        with pytest.raises(DatabaseError, match=why) as statement_refused:
            ensure_schema_for_role(load_settings(), INGEST)
        assert PASSWORD not in str(statement_refused.value)


def test_everything_runs_with_logins_that_are_members_of_one_role(
    api: MockApi,
    parted: Path,
    prefect_server: None,
    query: Query,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All of it twice where it has something to take apart: months, the key of the mart, lists beyond those kept."""
    clock = tmp_path / "clock"
    clock.write_text("2026-11-20T04:00")
    monkeypatch.setenv("CLOCK_FILE", str(clock))
    with quick_candidates():
        assert ingest.main(["--day", "2026-11-20"]) == 0
        assert retrain.main([]) == 0
        assert recommend.main([]) == 0
        api.set_day("2026-11-21")
        clock.write_text("2026-11-21T04:00")
        api.set_faults({"endpoint": "users", "bad_rows": {"id_null": 30}})
        assert ingest.main(["--day", "2026-11-21"]) == 1
        os.environ["THRESHOLD_MAX_REJECTED_SHARE"] = "1"
        assert replay.main(["users-2026-11-21"]) == 0
        del os.environ["THRESHOLD_MAX_REJECTED_SHARE"]
        api.reset()
        api.set_day("2026-12-02")
        clock.write_text("2026-12-02T04:00")
        assert ingest.main(["--day", "2026-12-02"]) == 0
        assert monitor.main([]) == 0
        for _ in range(2):
            assert recommend.main([]) == 0
        before = query("select publication_id from ml.current_publication")
        assert rollback.main([]) == 0
        assert query("select publication_id from ml.current_publication") != before
    query("update ops.batches set started_at = started_at - interval '99 days' returning 1")
    assert maintain.main([]) == 0

    owners = "select distinct tableowner::text from pg_tables where schemaname = %s and tablename ~ %s"
    assert query(owners, "warehouse", r"^listen_history.*_\d\d$") == [(INGEST,)]
    assert query(owners, "ml", r"_\d+$") == [(RECOMMENDER,)]
    assert query("select count(*) > 0 from ml.decisions where kind = 'day'") == [(True,)]
    assert query("select count(*) > 0 from ml.publications where pruned_at is not null") == [(True,)]


def test_an_older_schema_names_the_command_that_its_owner_runs(
    parted: Path, database: str, query: Query, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    query("update ops.schema_version set version_num = '0006' returning 1")
    with pytest.raises(DatabaseError, match=r"DATABASE_URL=... python -m core.migrate"):
        ensure_schema_for_role(load_settings(), INGEST)
    assert migrate.main([]) == 2
    assert "DATABASE_URL is empty" in capfd.readouterr().err
    monkeypatch.setenv("DATABASE_URL", os.environ["INGEST_DATABASE_URL"])
    assert migrate.main([]) == 1
    assert "this login cannot bring the schema up to date: permission denied" in capfd.readouterr().err
    query("update ops.schema_version set version_num = %s returning 1", newest_migration())
    monkeypatch.setenv("DATABASE_URL", database)
    assert migrate.main([]) == 0
    assert f"up to date: {newest_migration()}" in capfd.readouterr().out


@pytest.fixture
def owned(postgres: str, _template: str, empty_database: str) -> Iterator[str]:
    """A database without any schema of ours, as an owner who may make no roles sees it. `_template` made ours."""
    owner = "owner_of_a_test"
    database = sql.Identifier(empty_database.partition("?")[0].rpartition("/")[2])
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"create role {owner} login")
        connection.execute(sql.SQL("alter database {} owner to {}").format(database, sql.Identifier(owner)))
        yield empty_database.replace("postgres@", f"{owner}@")
        connection.execute(sql.SQL("alter database {} owner to postgres").format(database))
        with psycopg.connect(empty_database, autocommit=True) as inside:
            inside.execute(f"drop owned by {owner}, {', '.join(ROLES)} cascade")  # type: ignore[arg-type]
        connection.execute(f"drop role {owner}")


def give(postgres: str, *statements: str) -> None:
    """What somebody does who may."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[arg-type]


def test_an_owner_who_may_not_make_roles_is_told_what_is_to_be_run(owned: str, postgres: str) -> None:
    give(postgres, f"alter role {ANALYST} rename to somebody_else")
    try:
        with pytest.raises(DatabaseError) as statement_refused:
            core.database.migrate(owned)
    finally:
        give(postgres, f"alter role somebody_else rename to {ANALYST}")
    runs = str(statement_refused.value).partition("an administrator runs: ")[2].partition(")")[0]
    assert runs == (
        f"grant {INGEST} to owner_of_a_test; grant {RECOMMENDER} to owner_of_a_test; create role {ANALYST} nologin"
    )
    give(postgres, *runs.split("; ")[:2])
    core.database.migrate(owned)


def test_an_owner_without_superuser_comments_on_tables_that_roles_own(owned: str, postgres: str) -> None:
    give(postgres, f"grant {INGEST}, {RECOMMENDER} to owner_of_a_test")
    migrate_to(owned, "0011")
    core.database.migrate(owned)
    with connect(owned) as connection:
        assert (INGEST, "mart.user_track_plays") in owners(owned)
        rows = connection.execute(
            "select relname::text from pg_class where relnamespace in ('warehouse'::regnamespace, 'mart'::regnamespace,"
            " 'ml'::regnamespace, 'ops'::regnamespace) and relkind in ('r', 'p', 'v') and obj_description(oid) is null"
        )
        assert rows.fetchall() == []


def test_an_installation_from_before_there_were_roles(
    owned: str, postgres: str, prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tables are handed over, with what was staged and published; its owner, no superuser, takes the roles."""
    give(postgres, f"grant {INGEST}, {RECOMMENDER} to owner_of_a_test")
    migrate_to(owned, "0006")
    fill_warehouse(owned, two_taste_groups(users=40, tracks=40))
    with connect(owned) as connection:
        published(connection, 10)
        staged(connection, 11)
        connection.execute("create table warehouse.listen_history_2024_05 (like warehouse.listen_history)")
        connection.execute("create unlogged table staging.users_2024_03_31 (email text)")
    for name, value in quick_settings(owned, tmp_path / "data").items():
        monkeypatch.setenv(name, value)

    assert migrate.main([]) == 0

    handed_over = owners(owned)
    assert handed_over == {
        (INGEST, "mart.user_track_plays"),
        *((INGEST, f"warehouse.listen_history{end}") for end in ("", "_rest", "_N", "_tracks", "_tracks_rest")),
        (INGEST, "staging.users_N"),
        *((RECOMMENDER, f"ml.{table}{end}") for table in ("recommendations", "similar_tracks") for end in ("", "_N")),
        *((RECOMMENDER, f"staging.{table}_N") for table in ("recommendations", "similar_tracks")),
        (RECOMMENDER, "staging.recommendations_N_profile"),
    }
    with connect(owned) as connection:
        connection.execute("delete from ml.live_publications")  # what was live has no model to be refreshed from
        rights = rights_of_relations(connection)
    assert recommend.main([]) == 0

    # Who restores a backup owns all of it at first.
    monkeypatch.setenv("PATH", f"{embedded_postgres.programs_folder()}{os.pathsep}{os.environ['PATH']}")
    assert backup.main(["make", str(tmp_path / "kept.tar")]) == 0
    assert backup.main(["restore", str(tmp_path / "kept.tar"), "--force"]) == 0
    assert owners(owned) == {(role, table) for role, table in handed_over if not table.startswith("staging.")}
    with connect(owned) as connection:
        assert rights_of_relations(connection) == rights
    assert recommend.main([]) == 0


def owners(database: str) -> set[tuple[str, str]]:
    """Tables that belong to roles, without their numbers."""
    with connect(database) as connection:
        rows = connection.execute(
            "select tableowner::text, schemaname || '.' || regexp_replace(tablename, '(_[0-9]+)+', '_N') from pg_tables"
            " where tableowner <> 'owner_of_a_test' and schemaname !~ '^pg_|^information_schema$'"
        )
        return {(role, table) for role, table in rows}


def test_docker_compose_gives_each_service_a_login_that_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its script runs on a server of its own, where there are no roles yet, and its services connect as they say."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # below pytest's own, Postgres's user could not reach it
    folder.chmod(0o755)
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    passwords = dict.fromkeys(services["postgres"]["environment"], PASSWORD)
    try:
        host = embedded_postgres.start(folder).partition("host=")[2]
        path = f"{embedded_postgres.programs_folder()}{os.pathsep}{os.environ['PATH']}"
        script = ["sh", str(ROOT / "services/compose/create-databases.sh")]
        subprocess.run(script, env={**passwords, "PATH": path, "PGHOST": host}, check=True, capture_output=True)

        def use(service: str) -> Settings:
            for name in ("DATABASE_URL", "INGEST_DATABASE_URL", "RECOMMENDER_DATABASE_URL", "SERVING_DATABASE_URL"):
                said = re.sub(r"\$\{.*?\}", PASSWORD, services[service]["environment"].get(name, ""))
                monkeypatch.setenv(name, said.replace("@postgres:5432/moovitamix", f"@/moovitamix?host={host}"))
            return load_settings()

        core.database.migrate(use("migrate").database_url.get_secret_value())
        for role in (INGEST, RECOMMENDER):
            with connect(ensure_schema_for_role(use("worker"), role)) as connection:
                connection.execute("create temporary table t (); create table staging.t (); drop table staging.t")
        with connect(in_role(ensure_serving_database(use("serving")), SERVING)) as connection:
            connection.execute("select count(*) from ml.current_recommendations")
        assert health_checks.database_problem(health_checks.database_address(use("alerts"))) is None
        with connect(health_checks.database_address(use("alerts"))) as connection:
            connection.execute(load_query("ops/batches.find_last_publication_time"), {"latest": utc_now()})
        with pytest.raises(DatabaseError, match="permission denied for database"):
            connect(f"postgresql://prefect@/moovitamix?host={host}")
    finally:
        embedded_postgres.stop_if_unused(folder)
        shutil.rmtree(folder)


# What a role can hang on tables that it makes, to be run by whoever else touches them. It makes all names readable, for
# which the owner's rights are needed; they come back with a word where the owner took the role before.
_EVIL = "$$ begin {asks} grant select on warehouse.users to moovitamix_recommender; {ends} end $$"
_TRIGGER = _EVIL.format(asks="execute 'reset role';", ends="return old;")
_FUNCTION = _EVIL.format(asks="if current_user ~ '^moovitamix_' then return x; end if;", ends="return x;")
TRAPS = {
    "trigger": [
        "create table staging.trap (user_id bigint)",
        f"create function staging.spring() returns trigger language plpgsql as {_TRIGGER}",
        "create trigger spring before delete on staging.trap for each row execute function staging.spring()",
    ],
    "trigger of its own table": [
        f"create function ml.spring() returns trigger language plpgsql as {_TRIGGER}",
        "create trigger spring before delete on ml.recommendations for each row execute function ml.spring()",
    ],
    "rule": [
        "create table staging.trap (user_id bigint)",
        "create rule spring as on delete to staging.trap do also"
        " select query_to_xml('select email from warehouse.users', true, true, '')",
    ],
    "policy": [
        "create table staging.trap (user_id bigint)",
        "alter table staging.trap force row level security",
        "create policy spring on staging.trap using"
        " (query_to_xml('select email from warehouse.users', true, true, '') is not null)",
    ],
    "function": [
        "create table staging.trap (user_id bigint)",
        f"create function staging.spring(x bigint) returns bigint volatile language plpgsql as {_FUNCTION}",
        "create function staging.quiet(x bigint) returns bigint immutable language plpgsql"
        " as $$ begin return staging.spring(x); end $$",
        "create index on staging.trap (user_id) where staging.quiet(1) = 1",
    ],
    "function of its session": [
        "create table staging.trap (user_id bigint)",
        f"create function pg_temp.spring() returns trigger language plpgsql as {_TRIGGER}",
        "create trigger spring before delete on staging.trap for each row execute function pg_temp.spring()",
    ],
    "type": ["create table staging.bait (x bigint)", "create table staging.trap (user_id staging.bait)"],
    "constraint": [
        "create table staging.trap (user_id bigint, check (pg_notify('me', 'x') is not null))",
    ],
    "view": ["create view ml.v as select user_id from ml.recommendations"],
}
NAMED = {"trigger of its own table": "trigger spring on", "type": "table staging.trap", "view": "view ml.v"}


@pytest.mark.parametrize("trap", TRAPS)
def test_what_a_role_hangs_on_its_tables_never_runs_as_the_owner(
    trap: str,
    logins: Logins,
    database: str,
    query: Query,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: Capture,
) -> None:
    fill_warehouse(database, two_taste_groups(users=4, tracks=10))
    ((listener,),) = query("select min(id) from warehouse.users")
    for name, value in quick_settings(database, tmp_path / "data").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{embedded_postgres.programs_folder()}{os.pathsep}{os.environ['PATH']}")
    ask = [str(listener), "--reason", "asked", "--requested-by", "ticket 12"]
    with psycopg.connect(logins[RECOMMENDER], autocommit=True, options=f"-c role={RECOMMENDER}") as intruder:
        for step in TRAPS[trap]:
            intruder.execute(step)  # type: ignore[arg-type]
        with suppress(psycopg.errors.UndefinedTable, psycopg.errors.DatatypeMismatch):
            intruder.execute("insert into staging.trap values (%s)", [listener])

        assert erase.main(ask) == 1
        error = capfd.readouterr().err
        assert NAMED.get(trap, f"{trap.partition(' ')[0]} ") in error
        assert "no migration made" in error
        assert backup.main(["make"]) == 1
        assert "no migration made" in capfd.readouterr().err
        assert query("select count(*) from warehouse.users") == [(4,)]
        assert query("select count(*) from ops.erasures") == [(0,)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            intruder.execute("select email from warehouse.users")
        intruder.execute("drop table if exists staging.trap, staging.bait; drop view if exists ml.v")
        intruder.execute("drop trigger if exists spring on ml.recommendations")
        for (function,) in intruder.execute(
            "select oid::regprocedure::text from pg_proc where proname in ('quiet', 'spring')"
        ).fetchall():
            intruder.execute(f"drop function {function}")  # type: ignore[arg-type]
        assert erase.main(ask) == 0
        assert query("select count(*) from warehouse.users") == [(3,)]


def test_a_table_that_the_owner_may_not_erase_from_is_told_before_files_are_touched(
    owned: str, postgres: str, empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    give(postgres, f"grant {INGEST}, {RECOMMENDER} to owner_of_a_test")
    core.database.migrate(owned)
    give(empty_database, "create table staging.mine (user_id bigint)")
    page = tmp_path / "data/landing/users/users-2026-11-20/pages-1.jsonl.zst"
    page.parent.mkdir(parents=True)
    write_pages(
        page, [b'{"items": [{"id": 1, "email": "ada@example.com"}], "total": 1, "page": 1, "size": 1, "pages": 1}']
    )
    before = page.read_bytes()
    for name, value in quick_settings(owned, tmp_path / "data").items():
        monkeypatch.setenv(name, value)

    assert erase.main(["1", "--reason", "asked", "--requested-by", "ticket 12"]) == 1
    assert "staging.mine belongs to postgres" in capfd.readouterr().err
    assert page.read_bytes() == before

    give(empty_database, f"alter table staging.mine owner to {INGEST}")
    assert erase.main(["1", "--reason", "asked", "--requested-by", "ticket 12"]) == 0
    assert page.read_bytes() != before
