"""Runs `sql/migrations/0022_confirmed_session_changes.sql`."""

from alembic import op

from core.queries import load_query

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0022_confirmed_session_changes"))
