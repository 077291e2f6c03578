"""Separate logins: each part of the system works with a login that has only its own role."""

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
from core.file_store import FolderStore
from core.queries import load_query
from core.roles import ANALYST, INGEST, RECOMMENDER, ROLES, SERVING, Role, ensure_schema_for_role, in_role
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
    """For each role, the name of a login with a password. Other logins of the test server need no password."""
    names = {role: f"login_of_{role.removeprefix('moovitamix_')}" for role in ROLES}
    with psycopg.connect(postgres, autocommit=True) as connection:
        for role, name in names.items():
            texts = sql.Identifier(name), sql.Literal(PASSWORD), sql.Identifier(role)
            connection.execute(sql.SQL("create role {} login password {} in role {}").format(*texts))
        (file,) = connection.execute("show hba_file").fetchone() or ("",)
        original = Path(file).read_text()
        Path(file).write_text(f"local all /^login_of_ scram-sha-256\n{original}")
        connection.execute("select pg_reload_conf()")
        yield names
        Path(file).write_text(original)
        for name in names.values():
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


@pytest.fixture
def logins(_logins: Logins, database: str) -> Logins:
    """For each role, the URL of its login in the test's database."""
    return {
        role: database.replace("postgresql://postgres@", f"postgresql://{name}:{PASSWORD}@")
        for role, name in _logins.items()
    }


@pytest.fixture
def separate_logins(environment: Path, logins: Logins, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings with separate logins and without the owner's login. Returns the data folder."""
    values = {
        "DATABASE_URL": "",
        "INGEST_DATABASE_URL": logins[INGEST],
        "RECOMMENDER_DATABASE_URL": logins[RECOMMENDER],
        "RETRAIN_SEARCH_TRIALS": "1",
        "RECOMMENDATIONS_PER_USER": "10",
        "PUBLICATIONS_KEPT": "2",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return environment


def test_rights_equal_the_catalogue(database: str) -> None:
    """`sql/rights.yaml` lists every table and column with the privileges of each role."""
    catalogue = yaml.safe_load((ROOT / "sql/rights.yaml").read_text())
    expected = {
        name: {role: text for role, text in rights.items() if role != "columns"}
        for name, rights in catalogue["relations"].items()
    }
    with connect(database) as connection:
        assert rights_of_schemas(connection) == catalogue["schemas"]
        columns = {name: rights["columns"] for name, rights in catalogue["relations"].items()}
        assert columns_of_relations(connection) == columns
        assert rights_of_relations(connection) == expected
        in_schemas = "nspname in ('ops', 'staging', 'warehouse', 'mart', 'ml', 'serving', 'stream')"
        to_public = connection.execute(
            f"select nspname::text from pg_namespace, aclexplode(nspacl) where {in_schemas} and grantee = 0 union all"
            " select relname from pg_class join pg_namespace as schema on schema.oid = relnamespace,"
            f" aclexplode(relacl) where {in_schemas} and grantee = 0 union all"
            f" select proname from pg_proc join pg_namespace as schema on schema.oid = pronamespace where {in_schemas}"
            " and has_function_privilege('public', pg_proc.oid, 'execute')"
        )
        assert to_public.fetchall() == []


def test_only_ingest_can_read_personal_data(database: str) -> None:
    personal = {"first_name", "last_name", "email", "raw_json"}
    with connect(database) as connection:
        readable = connection.execute(
            "select role, attname::text from unnest(%s::text[]) as role, pg_attribute"
            " where attnum > 0 and attname = any(%s) and has_column_privilege(role, attrelid, attnum, 'select')",
            [list(ROLES), list(personal)],
        ).fetchall()
    assert {role for role, _ in readable} == {INGEST}
    assert {column for _, column in readable} == personal - {"raw_json"}


@pytest.mark.parametrize("role", ROLES)
def test_role_cannot_run_forbidden_statements(role: str, logins: Logins) -> None:
    forbidden_for_all = [
        "set role postgres",
        *(f"set role {name}" for name in ROLES if name != role),
        "create schema extra",
    ]
    forbidden_for_all += [
        "update ops.schema_version set version_num = '0000'",
        "create role extra",
        "alter role postgres login",
    ]
    with psycopg.connect(logins[role], autocommit=True) as connection:
        assert connection.execute("select current_user").fetchone() == (f"login_of_{role.removeprefix('moovitamix_')}",)
        for forbidden in [*FORBIDDEN[role], *forbidden_for_all]:
            allowed = False
            with suppress(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden)
                allowed = True
            assert not allowed, forbidden


def test_wrong_password_and_wrong_login_are_refused(
    separate_logins: Path, logins: Logins, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url, message in (
        (logins[INGEST].replace(PASSWORD, "guessed"), "password authentication failed"),
        (logins[SERVING], f'permission denied to set role "{INGEST}"'),
    ):
        monkeypatch.setenv("INGEST_DATABASE_URL", url)
        with pytest.raises(DatabaseError, match=message) as error_info:
            ensure_schema_for_role(load_settings(), INGEST)
        assert PASSWORD not in str(error_info.value)


def test_all_flows_run_with_separate_logins(
    api: MockApi,
    separate_logins: Path,
    prefect_server: None,
    query: Query,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Steps that alter tables run twice: month partitions, the key of the mart, and old publications."""
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
        live = query("select publication_id from ml.current_publication")
        assert rollback.main([]) == 0
        assert query("select publication_id from ml.current_publication") != live
    query("update ops.batches set started_at = started_at - interval '99 days' returning 1")
    assert maintain.main([]) == 0

    owners = "select distinct tableowner::text from pg_tables where schemaname = %s and tablename ~ %s"
    assert query(owners, "warehouse", r"^listen_history.*_\d\d$") == [(INGEST,)]
    assert query(owners, "ml", r"_\d+$") == [(RECOMMENDER,)]
    assert query("select count(*) > 0 from ml.decisions where kind = 'day'") == [(True,)]
    assert query("select count(*) > 0 from ml.publications where pruned_at is not null") == [(True,)]


def test_outdated_schema_error_names_the_migration_command(
    separate_logins: Path, database: str, query: Query, monkeypatch: pytest.MonkeyPatch, capfd: Capture
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
def owned_database(postgres: str, _template: str, empty_database: str) -> Iterator[str]:
    """An empty database whose owner cannot create roles. `_template` creates the project's roles."""
    owner = "owner_of_a_test"
    database = sql.Identifier(empty_database.partition("?")[0].rpartition("/")[2])
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"create role {owner} login")
        connection.execute(sql.SQL("alter database {} owner to {}").format(database, sql.Identifier(owner)))
        yield empty_database.replace("postgres@", f"{owner}@")
        connection.execute(sql.SQL("alter database {} owner to postgres").format(database))
        with psycopg.connect(empty_database, autocommit=True) as connection_inside:
            connection_inside.execute(f"drop owned by {owner}, {', '.join(ROLES)} cascade")  # type: ignore[arg-type]
        connection.execute(f"drop role {owner}")


def run_as_superuser(postgres: str, *statements: str) -> None:
    """Run statements as superuser."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[arg-type]


def test_error_lists_the_statements_that_a_superuser_must_run(owned_database: str, postgres: str) -> None:
    run_as_superuser(postgres, f"alter role {ANALYST} rename to renamed_role")
    try:
        with pytest.raises(DatabaseError) as error_info:
            core.database.migrate(owned_database)
    finally:
        run_as_superuser(postgres, f"alter role renamed_role rename to {ANALYST}")
    statements = str(error_info.value).partition("an administrator runs: ")[2].partition(")")[0]
    assert statements == (
        f"grant {INGEST} to owner_of_a_test; grant {RECOMMENDER} to owner_of_a_test; create role {ANALYST} nologin"
    )
    run_as_superuser(postgres, *statements.split("; ")[:2])
    core.database.migrate(owned_database)


def test_owner_without_superuser_can_comment_on_tables_of_roles(owned_database: str, postgres: str) -> None:
    run_as_superuser(postgres, f"grant {INGEST}, {RECOMMENDER} to owner_of_a_test")
    migrate_to(owned_database, "0011")
    core.database.migrate(owned_database)
    with connect(owned_database) as connection:
        assert (INGEST, "mart.user_track_plays") in owners(owned_database)
        rows = connection.execute(
            "select relname::text from pg_class where relnamespace in ('warehouse'::regnamespace, 'mart'::regnamespace,"
            " 'ml'::regnamespace, 'ops'::regnamespace) and relkind in ('r', 'p', 'v') and obj_description(oid) is null"
        )
        assert rows.fetchall() == []


def test_installation_without_roles_is_migrated(
    owned_database: str, postgres: str, prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The migration gives the tables, staged and published ones too, to the roles. The owner is no superuser."""
    run_as_superuser(postgres, f"grant {INGEST}, {RECOMMENDER} to owner_of_a_test")
    migrate_to(owned_database, "0006")
    fill_warehouse(owned_database, two_taste_groups(users=40, tracks=40))
    with connect(owned_database) as connection:
        # Newer ones, which a publication needs.
        connection.execute("alter table ml.recommendations add column because_track_id bigint")
        columns = "control_run_id bigint, ended_at timestamptz, outcome text, outcome_why text, paused_why text"
        connection.execute(f"create table ml.experiments ({columns})")
        published(connection, 10)
        connection.execute("drop table ml.experiments")
        staged(connection, 11)
        connection.execute("create table warehouse.listen_history_2024_05 (like warehouse.listen_history)")
        connection.execute("create unlogged table staging.users_2024_03_31 (email text)")
    for name, value in quick_settings(owned_database, tmp_path / "data").items():
        monkeypatch.setenv(name, value)

    assert migrate.main([]) == 0

    role_tables = owners(owned_database)
    assert role_tables == {
        *((INGEST, f"mart.{table}") for table in ("user_track_plays", "user_days", "daily_track_plays")),
        *((INGEST, f"warehouse.listen_history{end}") for end in ("", "_rest", "_N", "_tracks", "_tracks_rest")),
        (INGEST, "staging.users_N"),
        *((RECOMMENDER, f"ml.{table}{end}") for table in ("recommendations", "similar_tracks") for end in ("", "_N")),
        *((RECOMMENDER, f"staging.{table}_N") for table in ("recommendations", "similar_tracks")),
        (RECOMMENDER, "staging.recommendations_N_profile"),
    }
    with connect(owned_database) as connection:
        connection.execute("delete from ml.live_publications")  # the live publication has no model file
        rights = rights_of_relations(connection)
    assert recommend.main([]) == 0

    # A restore must give the tables back to the roles.
    monkeypatch.setenv("PATH", f"{embedded_postgres.programs_folder()}{os.pathsep}{os.environ['PATH']}")
    assert backup.main(["make", str(tmp_path / "database.tar")]) == 0
    assert backup.main(["restore", str(tmp_path / "database.tar"), "--force"]) == 0
    assert owners(owned_database) == {(role, table) for role, table in role_tables if not table.startswith("staging.")}
    with connect(owned_database) as connection:
        assert rights_of_relations(connection) == rights
    assert recommend.main([]) == 0


def owners(database: str) -> set[tuple[str, str]]:
    """Tables that roles own, with their numbers replaced by N."""
    with connect(database) as connection:
        rows = connection.execute(
            "select tableowner::text, schemaname || '.' || regexp_replace(tablename, '(_[0-9]+)+', '_N') from pg_tables"
            " where tableowner <> 'owner_of_a_test' and schemaname !~ '^pg_|^information_schema$'"
        )
        return {(role, table) for role, table in rows}


def test_docker_compose_logins_have_the_required_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the script of docker-compose on a new server, and connect with the settings of each service."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # Postgres's user cannot enter pytest's own folder
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
                url = re.sub(r"\$\{.*?\}", PASSWORD, services[service]["environment"].get(name, ""))
                monkeypatch.setenv(name, url.replace("@postgres:5432/moovitamix", f"@/moovitamix?host={host}"))
            return load_settings()

        core.database.migrate(use("migrate").database_url.get_secret_value())
        logins: tuple[tuple[str, Role], ...] = (("worker", INGEST), ("worker-models", RECOMMENDER))
        for worker, role in logins:
            with connect(ensure_schema_for_role(use(worker), role)) as connection:
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


# Objects that a role can attach to its tables. They run when the owner uses the table. They try to make all names
# readable with the rights of the owner. `reset role` returns to the owner if the owner had switched to the role.
_EXPLOIT = "$$ begin {condition} grant select on warehouse.users to moovitamix_recommender; {result} end $$"
_TRIGGER = _EXPLOIT.format(condition="execute 'reset role';", result="return old;")
_FUNCTION = _EXPLOIT.format(condition="if current_user ~ '^moovitamix_' then return x; end if;", result="return x;")
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
NAMES_IN_ERROR = {"trigger of its own table": "trigger spring on", "type": "table staging.trap", "view": "view ml.v"}


@pytest.mark.parametrize("trap", TRAPS)
def test_code_attached_by_a_role_never_runs_as_the_owner(
    trap: str,
    logins: Logins,
    database: str,
    query: Query,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: Capture,
) -> None:
    fill_warehouse(database, two_taste_groups(users=4, tracks=10))
    ((user_id,),) = query("select min(id) from warehouse.users")
    for name, value in quick_settings(database, tmp_path / "data").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{embedded_postgres.programs_folder()}{os.pathsep}{os.environ['PATH']}")
    arguments = [str(user_id), "--reason", "request", "--requested-by", "ticket 12"]
    with psycopg.connect(logins[RECOMMENDER], autocommit=True, options=f"-c role={RECOMMENDER}") as intruder:
        for statement in TRAPS[trap]:
            intruder.execute(statement)  # type: ignore[arg-type]
        with suppress(psycopg.errors.UndefinedTable, psycopg.errors.DatatypeMismatch):
            intruder.execute("insert into staging.trap values (%s)", [user_id])

        assert erase.main(arguments) == 1
        error = capfd.readouterr().err
        assert NAMES_IN_ERROR.get(trap, f"{trap.partition(' ')[0]} ") in error
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
        assert erase.main(arguments) == 0
        assert query("select count(*) from warehouse.users") == [(3,)]


def test_erasure_without_rights_on_a_table_changes_no_files(
    owned_database: str,
    postgres: str,
    empty_database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: Capture,
) -> None:
    run_as_superuser(postgres, f"grant {INGEST}, {RECOMMENDER} to owner_of_a_test")
    core.database.migrate(owned_database)
    run_as_superuser(empty_database, "create table staging.foreign_table (user_id bigint)")
    page = tmp_path / "data/landing/users/users-2026-11-20/pages-1.jsonl.zst"
    page.parent.mkdir(parents=True)
    write_pages(
        FolderStore(page.parent),
        page.name,
        [b'{"items": [{"id": 1, "email": "ada@example.com"}], "total": 1, "page": 1, "size": 1, "pages": 1}'],
    )
    content = page.read_bytes()
    for name, value in quick_settings(owned_database, tmp_path / "data").items():
        monkeypatch.setenv(name, value)

    assert erase.main(["1", "--reason", "request", "--requested-by", "ticket 12"]) == 1
    assert "staging.foreign_table belongs to postgres" in capfd.readouterr().err
    assert page.read_bytes() == content

    run_as_superuser(empty_database, f"alter table staging.foreign_table owner to {INGEST}")
    assert erase.main(["1", "--reason", "request", "--requested-by", "ticket 12"]) == 0
    assert page.read_bytes() != content
