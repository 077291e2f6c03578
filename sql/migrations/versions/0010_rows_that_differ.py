"""Runs `sql/migrations/0010_rows_that_differ.sql`."""

from alembic import op

from core.queries import load_query

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0010_rows_that_differ"))
