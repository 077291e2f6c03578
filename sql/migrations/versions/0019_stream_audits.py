"""Runs `sql/migrations/0019_stream_audits.sql`."""

from alembic import op

from core.queries import load_query

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0019_stream_audits"))
