"""Runs `sql/migrations/0012_comments.sql`."""

from alembic import op

from core.queries import load_query

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0012_comments"))
