"""Runs `sql/migrations/0017_fresh_recommendation_history.sql`."""

from alembic import op

from core.queries import load_query

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0017_fresh_recommendation_history"))
