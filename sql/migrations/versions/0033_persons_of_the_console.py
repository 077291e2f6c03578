"""Runs `sql/migrations/0033_persons_of_the_console.sql`."""

from alembic import op

from core.queries import load_query

revision = "0033"
down_revision = "0032"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0033_persons_of_the_console"))
