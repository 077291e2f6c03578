"""Runs `sql/migrations/0018_fresh_recommendation_history.sql`."""

from alembic import op

from core.queries import load_query

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0018_fresh_recommendation_history"))
