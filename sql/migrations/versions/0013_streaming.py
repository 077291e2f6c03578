"""Runs `sql/migrations/0013_streaming.sql`."""

from alembic import op

from core.queries import load_query

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0013_streaming"))
