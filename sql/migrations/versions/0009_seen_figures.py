"""Runs `sql/migrations/0009_seen_figures.sql`."""

from alembic import op

from core.queries import load_query

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0009_seen_figures"))
