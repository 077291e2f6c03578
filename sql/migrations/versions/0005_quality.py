"""Runs `sql/migrations/0005_quality.sql`."""

from alembic import op

from core.queries import load_query

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0005_quality"))
