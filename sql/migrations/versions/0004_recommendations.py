"""Runs `sql/migrations/0004_recommendations.sql`."""

from alembic import op

from core.queries import load_query

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0004_recommendations"))
