"""Runs `sql/migrations/0010_rows_that_differ.sql`."""

from alembic import op

from core.database import statement

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(statement("migrations/0010_rows_that_differ"))
