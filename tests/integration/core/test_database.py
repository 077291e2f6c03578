"""Migrations, sessions and error messages of the database."""

import re

import psycopg
import pytest

from core.database import connect, migrate, readable_errors
from core.errors import DatabaseError


def test_a_role_with_special_characters_in_its_name_and_password_can_migrate(empty_database: str) -> None:
    name, password = "we:ird", "p@s/s%w"
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute(f"create role \"{name}\" superuser login password '{password.replace('%', '%%')}'")
    try:
        url = re.sub(r"//[^@]*@", "//we%3Aird:p%40s%2Fs%25w@", empty_database)
        migrate(url)
        with connect(url) as connection:
            owner = "select tableowner from pg_tables where schemaname = 'warehouse' and tablename = 'users'"
            assert connection.execute(owner).fetchone() == (name,)
    finally:
        with psycopg.connect(empty_database, autocommit=True) as connection:
            connection.execute(f'reassign owned by "{name}" to postgres')
            connection.execute(f'drop owned by "{name}"')
            connection.execute(f'drop role "{name}"')


def test_migrating_twice_changes_nothing(empty_database: str) -> None:
    migrate(empty_database)
    migrate(empty_database)
    with connect(empty_database) as connection:
        assert connection.execute("select count(*) from ops.batches").fetchone() == (0,)


def test_a_migration_that_fails_leaves_nothing(empty_database: str) -> None:
    with connect(empty_database) as connection:
        connection.execute("create schema mart")  # the third migration creates this schema, and fails
        with pytest.raises(DatabaseError):
            migrate(empty_database)
        assert connection.execute("select to_regnamespace('ops')").fetchone() == (None,)
        connection.execute("drop schema mart")
        migrate(empty_database)
        assert connection.execute("select count(*) from mart.user_track_plays").fetchone() == (0,)


def test_an_unreachable_server_is_one_line_without_the_password() -> None:
    with pytest.raises(DatabaseError) as raised:
        connect("postgresql://u:s3cret@127.0.0.1:1/d")
    assert "check DATABASE_URL" in str(raised.value)
    assert "s3cret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_message_for_a_refused_row_has_none_of_its_values(database: str) -> None:
    with connect(database) as connection, pytest.raises(DatabaseError) as raised, readable_errors():
        connection.execute("select 'someone@example.com'::integer")
    assert "someone@example.com" not in str(raised.value)


def test_sessions_are_in_utc(database: str) -> None:
    with connect(database) as connection:
        assert connection.execute("show timezone").fetchone() == ("UTC",)
