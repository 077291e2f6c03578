"""Runs `sql/migrations/0030_published_snapshots.sql`."""

from alembic import op

from core.queries import load_query

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0030_published_snapshots"))
