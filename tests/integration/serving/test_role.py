"""The database role of serving: it reads what the API returns, and writes feedback."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest

from core.database import migrate
from core.roles import ROLES, SERVING
from tests.integration.serving.api import Api, serving


@pytest.mark.parametrize(
    "forbidden",
    [
        "select * from warehouse.users",
        "select * from warehouse.listen_history",
        "select * from ops.batches",
        "insert into ml.recommendations values (1, 1, 1, 1, 1)",
        "update ml.publications set reason = ''",
        "insert into ml.live_publications (publication_id, live_from, why) values (1, '2024-05-01', '')",
        "delete from ml.feedback",
        "insert into serving.api_keys values ('k', 'n', '', '{}', '2024-05-01', null, null)",
        "update serving.api_keys set revoked_at = null",
        "create table ml.new_table ()",
        "create table public.new_table ()",
    ],
)
def test_role_is_denied(world: Api, forbidden: str) -> None:
    with (
        psycopg.connect(world.database, autocommit=True, options=f"-c role={SERVING}") as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(forbidden)


def test_role_sees_no_personal_data(world: Api) -> None:
    with psycopg.connect(world.database, autocommit=True, options=f"-c role={SERVING}") as connection:
        columns = connection.execute(
            "select column_name from information_schema.columns"
            " where table_schema in ('mart', 'ml', 'serving', 'warehouse', 'ops', 'staging')"
        ).fetchall()  # only columns that the role has a right on
    named = {column for (column,) in columns}
    assert {"favorite_genres", "useful"} <= named
    assert named & {"first_name", "last_name", "email"} == set()


@pytest.fixture
def owned(postgres: str, _template: str, empty_database: str) -> Iterator[str]:
    """An empty database whose owner created the roles. Since Postgres 16, the creator of a role may grant it, but not
    set it.
    """
    owner = f"maker_{uuid4().hex[:8]}"
    database = empty_database.partition("?")[0].rpartition("/")[2]
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"create role {owner} login createrole")
        for role in ROLES:
            connection.execute(f"grant {role} to {owner} with admin true, set false, inherit false")
        connection.execute(f'alter database "{database}" owner to {owner}')
        yield empty_database.replace("postgres@", f"{owner}@")
        connection.execute(f'alter database "{database}" owner to postgres')
        with psycopg.connect(empty_database, autocommit=True) as inside:
            inside.execute(f"drop owned by {owner} cascade")
        connection.execute(f"drop role {owner}")


def test_owner_of_the_roles_can_set_them(owned: str) -> None:
    migrate(owned)
    with psycopg.connect(owned, options=f"-c role={SERVING}") as connection:
        assert connection.execute("select current_user, count(*) from ml.current_recommendations").fetchone() == (
            SERVING,
            0,
        )


def test_separate_login_with_the_role_is_enough(world: Api) -> None:
    login = "front_end_of_a_test"
    with psycopg.connect(world.database, autocommit=True) as connection:
        connection.execute(f"create role {login} login in role {SERVING}")
        try:
            with serving(world.database.replace("postgres@", f"{login}@"), key=world.key) as api:
                assert api.read(5).status_code == 200
                assert api.send_feedback(user_id=9, track_id=9, useful=True).status_code == 201
        finally:
            connection.execute(f"drop role {login}")


def test_log_has_the_reason_for_a_refused_connection(world: Api, caplog: pytest.LogCaptureFixture) -> None:
    """A wrong login needs an operator, so the log has the reason. Clients do not see it."""
    caplog.set_level("INFO", "serving.requests")
    with serving(world.database.replace("postgres@", "nobody_here:secret@"), key=world.key) as api:
        response = api.read(5)
    assert response.status_code == 503
    assert "nobody_here" not in response.text
    reasons = [getattr(record, "line", {}).get("why", "") for record in caplog.records]
    assert any('role "nobody_here" does not exist' in why for why in reasons)
    assert not any("secret" in why for why in reasons)
