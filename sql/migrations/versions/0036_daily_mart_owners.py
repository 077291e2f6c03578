"""Runs `sql/migrations/0036_daily_mart_owners.sql`."""

from alembic import op

from core.queries import load_query

revision = "0036"
down_revision = "0035"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0036_daily_mart_owners"))
