"""Runs `sql/migrations/0020_stream_indexes.sql`."""

from alembic import op

from core.queries import load_query

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0020_stream_indexes"))
