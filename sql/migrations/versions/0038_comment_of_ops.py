"""Runs `sql/migrations/0038_comment_of_ops.sql`."""

from alembic import op

from core.queries import load_query

revision = "0038"
down_revision = "0037"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0038_comment_of_ops"))
