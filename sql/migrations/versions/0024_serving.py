"""Runs `sql/migrations/0024_serving.sql`."""

from alembic import op

from core.queries import load_query

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0024_serving"))
