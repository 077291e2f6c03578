"""A database from before the monitor existed."""

from __future__ import annotations

import sqlalchemy
from alembic import command
from alembic.config import Config

from core.database import SQLALCHEMY_URL, connect, migrate
from core.queries import SQL_FOLDER
from core.sessions import open_connection
from tests.integration.monitor.world import (
    add_feedback,
    add_plays,
    at,
    create_publication,
    day,
    evaluate_due_days,
    go_live,
    insert_batch,
    populate,
)

_NEW_COLUMN = "alter table ml.publications {} column excludes_played"


def migrate_to(url: str, revision: str) -> None:
    """Migrate the schema to an earlier revision."""
    engine = sqlalchemy.create_engine(
        SQLALCHEMY_URL, creator=lambda: open_connection(url, autocommit=False), poolclass=sqlalchemy.NullPool
    )
    config = Config()
    config.set_main_option("script_location", str(SQL_FOLDER / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def test_publications_and_feedback_before_the_monitor_are_evaluated(empty_database: str) -> None:
    migrate_to(empty_database, "0004")
    populate(empty_database, range(1, 10), range(1, 61))
    with connect(empty_database) as connection:
        # The helpers write columns that this revision does not have yet.
        connection.execute(f"{_NEW_COLUMN.format('add')} boolean")
        connection.execute("alter table ml.model_runs add column cause text")
        go_live(connection, create_publication(connection, {user: [user, 30] for user in range(1, 10)}, [30]), at(0, 0))
        connection.execute(_NEW_COLUMN.format("drop"))
        connection.execute("alter table ml.model_runs drop column cause")
        for user in range(1, 10):
            add_plays(connection, (user, at(0), (user,)))
            add_feedback(connection, user, user, True, at(0))
        insert_batch(connection, 1)
        add_plays(connection, (1, at(1, 1), (50,)))

    migrate(empty_database)
    migrate(empty_database)

    with connect(empty_database) as connection:
        (evaluation,) = evaluate_due_days(connection)
        assert (evaluation.quality.day, evaluation.verdict) == (day(0), "warming-up")
        ndcg, useful = evaluation.quality["ndcg@20"], evaluation.quality["useful"]
        assert ndcg
        assert useful
        assert (ndcg.value, ndcg.users, useful.value, useful.users) == (1, 9, 1, 9)
        causes = connection.execute("select cause, excludes_played from ml.model_runs, ml.publications").fetchall()
        assert causes == [("asked", True)]
