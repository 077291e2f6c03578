"""Runs `sql/migrations/0023_shared_limits.sql`."""

from alembic import op

from core.queries import load_query

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0023_shared_limits"))
