"""Runs `sql/migrations/0015_stream_minutes.sql`."""

from alembic import op

from core.queries import load_query

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0015_stream_minutes"))
