"""Runs `sql/migrations/0029_console.sql`."""

from alembic import op

from core.queries import load_query

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0029_console"))
