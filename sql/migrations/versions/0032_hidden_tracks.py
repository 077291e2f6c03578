"""Runs `sql/migrations/0032_hidden_tracks.sql`."""

from alembic import op

from core.queries import load_query

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0032_hidden_tracks"))
