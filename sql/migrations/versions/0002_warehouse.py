"""Runs `sql/migrations/0002_warehouse.sql`."""

from alembic import op

from core.queries import load_query

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0002_warehouse"))
