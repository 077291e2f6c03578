"""Runs `sql/migrations/0021_stream_confirmations.sql`."""

from alembic import op

from core.queries import load_query

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0021_stream_confirmations"))
