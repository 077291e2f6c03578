"""Runs `sql/migrations/0008_erasures.sql`."""

from alembic import op

from core.queries import load_query

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0008_erasures"))
