"""Runs `sql/migrations/0027_analyst_marts.sql`."""

from alembic import op

from core.queries import load_query

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0027_analyst_marts"))
