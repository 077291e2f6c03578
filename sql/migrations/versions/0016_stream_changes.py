"""Runs `sql/migrations/0016_stream_changes.sql`."""

from alembic import op

from core.queries import load_query

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0016_stream_changes"))
