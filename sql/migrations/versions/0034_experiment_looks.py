"""Runs `sql/migrations/0034_experiment_looks.sql`."""

from alembic import op

from core.queries import load_query

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(load_query("migrations/0034_experiment_looks"))
