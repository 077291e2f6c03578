"""Runs `sql/migrations/0025_popular_tracks.sql`."""

from alembic import op

from core.queries import load_query

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0025_popular_tracks"))
