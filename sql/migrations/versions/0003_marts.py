"""Runs `sql/migrations/0003_marts.sql`."""

from alembic import op

from core.queries import load_query

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0003_marts"))
