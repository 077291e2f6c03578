"""An owner of the database who may make no roles, which others made and gave them: what docs/operations.md promises."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from core.database import connect, migrate
from core.roles import INGEST, RECOMMENDER
from tests.integration.recommend.test_publications import published


@pytest.fixture
def owned(postgres: str, _template: str, empty_database: str) -> Iterator[str]:
    """A database without any schema of ours, as its owner sees it. `_template` made the roles before."""
    owner = sql.Identifier(f"owner_{uuid4().hex[:8]}")
    database = sql.Identifier(empty_database.partition("?")[0].rpartition("/")[2])
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login").format(owner))
        for role in (INGEST, RECOMMENDER):
            connection.execute(sql.SQL("grant {} to {}").format(sql.Identifier(role), owner))
        connection.execute(sql.SQL("alter database {} owner to {}").format(database, owner))
        yield empty_database.replace("postgres@", f"{owner.as_string().strip(chr(34))}@")
        connection.execute(sql.SQL("alter database {} owner to postgres").format(database))
        with psycopg.connect(empty_database, autocommit=True) as inside:
            inside.execute(sql.SQL("drop owned by {} cascade").format(owner))
        connection.execute(sql.SQL("drop role {}").format(owner))


def test_it_migrates_and_publishes(owned: str) -> None:
    migrate(owned)
    with connect(owned) as connection:
        published(connection, 10)
        assert connection.execute("select count(*) from ml.current_recommendations").fetchone() == (4,)
        may_read = "select has_table_privilege('moovitamix_serving', 'ml.current_recommendations', 'select')"
        assert connection.execute(may_read).fetchone() == (True,)
