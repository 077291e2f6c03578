"""Runs `sql/migrations/0001_operations.sql`."""

from alembic import op

from core.queries import load_query

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0001_operations"))
