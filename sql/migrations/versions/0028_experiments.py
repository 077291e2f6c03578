"""Runs `sql/migrations/0028_experiments.sql`."""

from alembic import op

from core.queries import load_query

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0028_experiments"))
